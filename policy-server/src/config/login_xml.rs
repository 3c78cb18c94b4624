//! Writer of a `<login-config-entry>`: what `login_config` reads back as the same entry. Never a secret: one that stands
//! in the file itself is referred to as if it were in a file of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};
use shared_proto::login::{FormField, InputMode};
use shared_proto::options::Options;
use shared_proto::secret::SecretRef;

use super::login_config::{EntryConfig, ModuleConfig};
use crate::auth::callback::{CallbackHandler, MAX_ANSWER};
use crate::directory::sql::url::without_password;
use crate::token::hex;

/// Whether the value of this option is a password, or says where one is.
pub fn is_secret(option: &str) -> bool {
    option.to_ascii_lowercase().ends_with("password")
}

/// Whether the value itself is a secret, or holds one.
pub fn holds_secret(option: &str, value: &str) -> bool {
    if is_secret(option) {
        return !value.is_empty() && matches!(SecretRef::parse(value), SecretRef::Literal(_));
    }
    option == JDBC_URL && without_password(value).is_some()
}

const JDBC_URL: &str = "jdbcUrl";
const JDBC_PASSWORD: &str = "jdbcPassword";

/// The options that say which directory a module asks, and what it knows people by there.
const DIRECTORY: [&str; 7] = ["host", "port", "domain", "jdbcUrl", "serviceId", "idAttribute", "idColumn"];

/// A short hash of the options that say which directory a module asks, without the passwords in them.
pub fn settings_hash(options: &Options) -> String {
    let options = options.in_order().filter(|(name, _)| DIRECTORY.contains(name));
    let sorted: BTreeMap<&str, String> =
        options.map(|(name, value)| (name, without_password(value).unwrap_or_else(|| value.to_owned()))).collect();
    let text: String =
        sorted.iter().map(|(name, value)| format!("{}:{name}{}:{value}", name.len(), value.len())).collect();
    hex(Sha256::digest(text).get(..8).unwrap_or_default())
}

/// The element, with a line end after each line.
pub fn write(entry: &EntryConfig) -> String {
    let mut xml = Writer::default();
    xml.open("login-config-entry", &[("name", &entry.name)]);
    for (place, module) in (1..).zip(&entry.modules) {
        write_module(&mut xml, place, module);
    }
    write_handler(&mut xml, &entry.handler);
    xml.open("login-parameters", &[]);
    xml.empty("login-parameter", &[("name", "camsLoginUrl"), ("value", &entry.login_url)]);
    for (name, value) in &entry.parameters {
        xml.empty("login-parameter", &[("name", name), ("value", value)]);
    }
    xml.close("login-parameters");
    xml.close("login-config-entry");
    xml.text
}

/// `place` counts from 1.
fn write_module(xml: &mut Writer, place: usize, module: &ModuleConfig) {
    xml.open("login-module-entry", &[("className", module.kind.class), ("flag", module.flag.name())]);
    xml.open("options", &[]);
    for (name, value) in module.options.in_order() {
        if !holds_secret(name, value) {
            xml.empty("option", &[("name", name), ("value", value)]);
        } else if name == JDBC_URL {
            xml.empty("option", &[("name", name), ("value", &without_password(value).unwrap_or_default())]);
            if !module.options.has(JDBC_PASSWORD) {
                write_secret(xml, place, JDBC_PASSWORD);
            }
        } else {
            write_secret(xml, place, name);
        }
    }
    xml.close("options");
    xml.close("login-module-entry");
}

/// Two modules may have an option of the same name, and another secret each.
fn write_secret(xml: &mut Writer, place: usize, option: &str) {
    let file = if place == 1 { format!("secrets/{option}") } else { format!("secrets/{option}.{place}") };
    xml.comment("The secret is not shown: put it into this file, below this folder, with mode 0600.");
    xml.empty("option", &[("name", option), ("value", &format!("file:{file}"))]);
}

fn write_handler(xml: &mut Writer, handler: &CallbackHandler) {
    let form = handler.form();
    let mut attributes = vec![("className", handler.class())];
    if handler.is_configurable() && form.remember_me {
        attributes.push(("rememberMe", "true"));
    }
    if form.fields.is_empty() {
        return xml.empty("callback-handler", &attributes);
    }
    xml.open("callback-handler", &attributes);
    form.fields.iter().for_each(|field| write_field(xml, field));
    xml.close("callback-handler");
}

/// Without what is so anyway.
fn write_field(xml: &mut Writer, field: &FormField) {
    let max_length = field.max_length.to_string();
    let mut attributes = vec![("name", field.name.as_str()), ("label", field.label.as_str())];
    attributes.extend((!field.required).then_some(("required", "false")));
    attributes.extend((!field.secret).then_some(("secret", "false")));
    attributes.extend((field.max_length != MAX_ANSWER).then_some(("maxLength", max_length.as_str())));
    attributes.extend((field.input_mode != InputMode::Text).then_some(("inputMode", field.input_mode.name())));
    xml.empty("callback", &attributes);
}

#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">");
        self.depth += 1;
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>");
    }

    fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line(&format!("</{name}>"));
    }

    /// The text is our own, without `--`.
    fn comment(&mut self, text: &'static str) {
        self.line(&format!("<!-- {text} -->"));
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        let mut tag = format!("<{name}");
        for (name, value) in attributes {
            // Writing to a String cannot fail.
            let _ = write!(tag, " {name}=\"{}\"", escape(value));
        }
        self.line(&(tag + end));
    }

    fn line(&mut self, line: &str) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// A value between double quotes. White space other than blanks would be read back as blanks (XML 1.0, section 3.3.3).
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push_str(&format!("&#{};", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared_proto::problem::Problems;

    use super::*;
    use crate::config::login_config;

    const MODULE: &str = "com.cafesoft.cams.auth.login.module";
    const HANDLER: &str = "com.cafesoft.cams.auth.callback";

    /// What somebody may write, and how it is written back.
    fn check(inner: &str, expected: &str) {
        let text = format!("<login-config>\n<login-config-entry name='e'>{inner}</login-config-entry></login-config>");
        let read = |text: &str| {
            let mut problems = Problems::default();
            let config = login_config::read(Path::new("l.xml"), text, &mut problems).unwrap();
            assert!(problems.is_empty(), "{problems}\n{text}");
            config.entries.into_iter().next().unwrap()
        };
        let written = write(&read(&text));
        assert_eq!(written, expected);
        let again = write(&read(&format!("<login-config>{written}</login-config>")));
        let comment = |line: &&str| line.trim_start().starts_with("<!--");
        assert!(again.lines().eq(written.lines().filter(|line| !comment(line))), "{again}");
    }

    #[test]
    fn an_entry_is_written_as_it_is_read() {
        check(
            &format!(
                "<login-module-entry className='{MODULE}.LdapLoginModule' flag='sufficient'>
                 <options><option name='userFilter' value='(&amp;(a=&quot;b&quot;)(c&gt;=&apos;d&lt;&#10;&#9;&#13;e  f))'/>
                 <option name='bindDn' value='cn=ünï'/>
                 <option name='bindPassword' value='canary&amp;'/></options></login-module-entry>
                 <login-module-entry classname='{MODULE}.JdbcLoginModule' flag='REQUIRED'><options>
                 <option name='jdbcUrl' value='jdbc:postgresql://u:canary@h/d?user=u&amp;Password=canary&amp;ssl=true'/>
                 </options></login-module-entry>
                 <login-module-entry className='{MODULE}.JdbcLoginModule' flag='OPTIONAL'><options>
                 <option name='jdbcUrl' value='jdbc:postgresql://u@h/d'/>
                 <option name='jdbcPassword' value='env:DB'/></options></login-module-entry>
                 <callback-handler className='{HANDLER}.ConfigurableCallbackHandler' rememberMe='true'>
                 <callback name='pin' label='A &lt;PIN>' required='false' secret='false' maxLength='4' inputMode='tel'/>
                 <callback name='id' label='Id' required='true' secret='true' maxLength='4096' inputMode='text'/>
                 </callback-handler>
                 <login-parameters><login-parameter name='z' value=''/></login-parameters>
                 <login-parameters><login-parameter name='camsLoginUrl' value='/l?a=b&amp;c'/></login-parameters>"
            ),
            r#"<login-config-entry name="e">
  <login-module-entry className="com.cafesoft.cams.auth.login.module.LdapLoginModule" flag="SUFFICIENT">
    <options>
      <option name="userFilter" value="(&amp;(a=&quot;b&quot;)(c&gt;='d&lt;&#10;&#9;&#13;e  f))"/>
      <option name="bindDn" value="cn=ünï"/>
      <!-- The secret is not shown: put it into this file, below this folder, with mode 0600. -->
      <option name="bindPassword" value="file:secrets/bindPassword"/>
    </options>
  </login-module-entry>
  <login-module-entry className="com.cafesoft.cams.auth.login.module.JdbcLoginModule" flag="REQUIRED">
    <options>
      <option name="jdbcUrl" value="jdbc:postgresql://u@h/d?user=u&amp;ssl=true"/>
      <!-- The secret is not shown: put it into this file, below this folder, with mode 0600. -->
      <option name="jdbcPassword" value="file:secrets/jdbcPassword.2"/>
    </options>
  </login-module-entry>
  <login-module-entry className="com.cafesoft.cams.auth.login.module.JdbcLoginModule" flag="OPTIONAL">
    <options>
      <option name="jdbcUrl" value="jdbc:postgresql://u@h/d"/>
      <option name="jdbcPassword" value="env:DB"/>
    </options>
  </login-module-entry>
  <callback-handler className="com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler" rememberMe="true">
    <callback name="pin" label="A &lt;PIN&gt;" required="false" secret="false" maxLength="4" inputMode="tel"/>
    <callback name="id" label="Id"/>
  </callback-handler>
  <login-parameters>
    <login-parameter name="camsLoginUrl" value="/l?a=b&amp;c"/>
    <login-parameter name="z" value=""/>
  </login-parameters>
</login-config-entry>
"#,
        );
    }

    #[test]
    fn settings_that_name_a_directory_are_told_apart() {
        let hash = |text: &str| {
            let mut problems = Problems::default();
            settings_hash(&Options::from_properties(Path::new("t"), text, &mut problems))
        };
        let before = hash("host=a\nuserFilter=b\njdbcUrl=jdbc:mysql://u:p@h/d");
        for (text, same) in [
            ("userFilter=b\njdbcUrl=jdbc:mysql://u:p@h/d\nhost=a", true),
            ("host=a\nuserFilter=b\njdbcUrl=jdbc:mysql://u:other@h/d", true),
            ("host=a\nuserFilter=b\njdbcUrl=jdbc:mysql://u:p@h/d\ndebug=true\nreadTimeout=1s\nbindPassword=x", true),
            ("host=b\nuserFilter=b\njdbcUrl=jdbc:mysql://u:p@h/d", false),
            ("host=a\nidAttribute=uidNumber\njdbcUrl=jdbc:mysql://u:p@h/d", false),
            ("host=a\njdbcUrl=jdbc:mysql://u:p@h/d", true),
            ("host=a\nuserFilter=b\njdbcUrl=jdbc:mysql://u:p@other/d", false),
        ] {
            assert_eq!(hash(text) == before, same, "{text}");
        }
        assert_ne!(hash("host=b4:port1:d"), hash("host=b\nport=d"));
    }
}
