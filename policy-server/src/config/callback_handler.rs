//! Reader of `<callback-handler>` in `login-config.xml`: what a login entry asks for.

use shared_proto::login::{FormField, InputMode};
use shared_proto::problem::Problems;

use super::login_config::unknown_class;
use super::xml::Element;
use crate::auth::callback::{CallbackHandler, MAX_ANSWER};

/// The handler of an entry, or `None` with the reason in `problems`.
pub fn read(entry: &Element, problems: &mut Problems) -> Option<CallbackHandler> {
    let Some(element) = entry.only_child("callback-handler", problems) else {
        entry.problem(problems, "<login-config-entry> needs a <callback-handler>");
        return None;
    };
    let class = element.class_name(problems)?;
    let Some(mut handler) = CallbackHandler::from_class(class) else {
        let known = CallbackHandler::all();
        element.problem(problems, unknown_class("callback handler", class, known.iter().map(CallbackHandler::class)));
        return None;
    };
    if !handler.is_configurable() {
        element.only(&["className", "classname"], &[], problems);
        return Some(handler);
    }
    element.only(&["className", "classname", "rememberMe"], &["callback"], problems);
    handler.offer_to_remember(element.flag("rememberMe", false, problems));
    for callback in element.children_named("callback") {
        if let Some(field) = field(callback, problems)
            && let Err(problem) = handler.add(field)
        {
            callback.problem(problems, problem);
        }
    }
    Some(handler)
}

fn field(element: &Element, problems: &mut Problems) -> Option<FormField> {
    element.only(&["name", "label", "required", "secret", "maxLength", "inputMode"], &[], problems);
    let required = element.flag("required", true, problems);
    let secret = element.flag("secret", true, problems);
    let (name, label) = (element.require("name", problems), element.require("label", problems));
    // What is no number is reported as one that is out of range.
    let max_length = element.attribute("maxLength").map_or(MAX_ANSWER, |text| text.parse().unwrap_or(0));
    let input_mode = input_mode(element, problems);
    Some(FormField { name: name?.to_owned(), label: label?.to_owned(), required, secret, max_length, input_mode })
}

fn input_mode(element: &Element, problems: &mut Problems) -> InputMode {
    let Some(text) = element.attribute("inputMode") else { return InputMode::Text };
    InputMode::ALL.into_iter().find(|mode| mode.name() == text).unwrap_or_else(|| {
        let message = format!("attribute `inputMode` of <callback>: `{text}` is not text, numeric, tel or email");
        element.problem(problems, message);
        InputMode::Text
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::xml;

    /// The handler that `CLASS rest` describes within an entry, and the problems.
    fn read_text(class: &str, rest: &str) -> (Option<CallbackHandler>, String) {
        let text = format!(
            "<login-config-entry>\n<callback-handler className='com.cafesoft.cams.auth.callback.{class}' {rest}\
             </callback-handler></login-config-entry>"
        );
        let mut problems = Problems::default();
        let entry = xml::parse(Path::new("l.xml"), &text, &mut problems).unwrap();
        let handler = read(&entry, &mut problems);
        (handler, problems.to_string())
    }

    #[test]
    fn further_callbacks_are_read() {
        let (handler, problems) = read_text(
            "ConfigurableCallbackHandler",
            "rememberMe='true'>\n<callback name='pin' label='PIN &amp; co' maxLength='12' inputMode='numeric'/>\n\
             <callback name='id_4' label='Last digits' required='false' secret='false'/>",
        );
        assert_eq!(problems, "");
        let form = handler.unwrap().form().clone();
        let field = |name: &str, label: &str, required, secret, max_length, input_mode| FormField {
            name: name.to_owned(),
            label: label.to_owned(),
            required,
            secret,
            max_length,
            input_mode,
        };
        assert_eq!(form.fields[0], field("pin", "PIN & co", true, true, 12, InputMode::Numeric));
        assert_eq!(form.fields[1], field("id_4", "Last digits", false, false, MAX_ANSWER, InputMode::Text));
        assert!(form.remember_me);
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        const CONFIGURABLE: &str = "ConfigurableCallbackHandler";
        let callback = |attributes: &str| format!(">\n<callback {attributes}/>");
        let long = format!("name='a' label='{}'", "x".repeat(81));
        let name = format!("name='{}' label='x'", "x".repeat(33));
        let many: String = (0..9).map(|n| format!("<callback name='f{n}' label='x'/>\n")).collect();
        for (class, rest, expected) in [
            ("NamePasswordCallbackHandler", callback("name='pin' label='PIN'"), "l.xml:3: unknown element <callback>"),
            ("NamePasswordCallbackHandler", "rememberMe='true'>".into(), "l.xml:2: unknown attribute `rememberMe`"),
            (CONFIGURABLE, "rememberMe='yes'>".into(), "l.xml:2: attribute `rememberMe` of <callback-handler>: `yes`"),
            (CONFIGURABLE, callback("label='PIN'"), "l.xml:3: <callback> needs the attribute `name`"),
            (CONFIGURABLE, callback("name='pin'"), "l.xml:3: <callback> needs the attribute `label`"),
            (CONFIGURABLE, callback("name='pin' label=' '"), "l.xml:3: attribute `label` of <callback> is empty"),
            (CONFIGURABLE, callback("name='pin' label='a&#10;b'"), "l.xml:3: callback `pin`: a label is text of one"),
            (CONFIGURABLE, callback(&long), "l.xml:3: callback `a`: a label is text of one line, at most 80"),
            (CONFIGURABLE, callback(&name), "l.xml:3: callback `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`: use a-z"),
            (CONFIGURABLE, callback("name='Pin' label='x'"), "l.xml:3: callback `Pin`: use a-z, 0-9 and _"),
            (CONFIGURABLE, callback("name='p-n' label='x'"), "l.xml:3: callback `p-n`: use a-z, 0-9 and _"),
            (CONFIGURABLE, callback("name='username' label='x'"), "l.xml:3: callback `username` needs no line"),
            (CONFIGURABLE, callback("name='password' label='x'"), "l.xml:3: callback `password` needs no line"),
            (CONFIGURABLE, callback("name='autologin_flag' label='x'"), "l.xml:3: callback `autologin_flag` needs no"),
            (
                CONFIGURABLE,
                callback("name='p' label='x' maxLength='0'"),
                "l.xml:3: callback `p`: maxLength is a number",
            ),
            (CONFIGURABLE, callback("name='p' label='x' maxLength='4097'"), "l.xml:3: callback `p`: maxLength is a"),
            (CONFIGURABLE, callback("name='p' label='x' maxLength='ten'"), "l.xml:3: callback `p`: maxLength is a"),
            (CONFIGURABLE, callback("name='p' label='x' required='1'"), "l.xml:3: attribute `required` of <callback>"),
            (CONFIGURABLE, callback("name='p' label='x' inputMode='big'"), "l.xml:3: attribute `inputMode` of"),
            (CONFIGURABLE, callback("name='p' label='x' maxlength='1'"), "l.xml:3: unknown attribute `maxlength` of"),
            (CONFIGURABLE, format!(">\n{many}"), "l.xml:11: a login asks for at most 8 things besides"),
            (
                CONFIGURABLE,
                ">\n<callback name='p' label='x'/>\n<callback name='p' label='y'/>".into(),
                "l.xml:4: callback `p` is there twice",
            ),
        ] {
            let (_, problems) = read_text(class, &rest);
            assert!(problems.starts_with(expected) && problems.lines().count() == 1, "{rest}:\n{problems}");
        }
    }
}
