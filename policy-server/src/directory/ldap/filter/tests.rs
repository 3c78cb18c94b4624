use super::*;

/// Names that are syntax somewhere (RFC 4515, RFC 4514, shells, SQL).
const NAMES: [&str; 12] = [
    "alice",
    "*",
    "alice)(|(uid=*",
    "*)(objectClass=*",
    "alice\\00",
    "alice\\2a",
    "alice ",
    ",+\"\\<>;=#",
    "al\0ice",
    "{1}",
    "älice",
    "(&)",
];

#[test]
fn filters_are_read_and_written() {
    for (text, shown) in [
        ("(uid={0})", "(uid=x)"),
        (
            " (&(objectClass=person)(|(uid={0})(mail={0}@a.test))(!(ou=x))) ",
            "(&(objectClass=person)(|(uid=x)(mail=x@a.test))(!(ou=x)))",
        ),
        ("(cn=*)", "(cn=*)"),
        ("(cn=a*b*c)", "(cn=a*b*c)"),
        ("(cn=*b*)", "(cn=*b*)"),
        ("(cn=a*)", "(cn=a*)"),
        ("(cn=*{0})", "(cn=*x)"),
        ("(cn=\\2a\\28\\C3\\a4)", "(cn=\\2a\\28ä)"),
        ("(cn=\\ff)", "(cn=\\ff)"),
        ("(cn=)", "(cn=)"),
        ("(a>=1)", "(a>=1)"),
        ("(a<={1})", "(a<=y)"),
        ("(a~=b)", "(a~=b)"),
        ("(member:1.2.840.113556.1.4.1941:={0})", "(member:1.2.840.113556.1.4.1941:=x)"),
        ("(ou:dn:=a)", "(ou:dn:=a)"),
        ("(:dn:2.5.13.5:=a)", "(:dn:2.5.13.5:=a)"),
        ("(uid={0}={1})", "(uid=x=y)"),
    ] {
        let filter = Filter::parse(text, 2).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.show(&["x", "y"]), shown);
        let again = Filter::parse(shown, 0).unwrap();
        assert_eq!(again.encode::<&str>(&[]), filter.encode(&["x", "y"]), "{text}");
    }
    let deep = format!("{}(a=b){}", "(!".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
    for wrong in [
        "",
        "uid={0}",
        "(uid={0}",
        "(uid={0}))",
        "(uid={2})",
        "(uid={})",
        "(uid={0)",
        "(uid=\\2)",
        "(uid=\\zz)",
        "()",
        "(&)",
        "(=a)",
        "(u id=a)",
        "({0}=a)",
        "(a=b)(c=d)",
        "(a>=*)",
        "(a=**)",
        "(:=a)",
        "(a:b:c:=d)",
        "(!a)",
        &deep,
    ] {
        assert!(Filter::parse(wrong, 2).is_err(), "{wrong}");
    }
}

#[test]
fn bytes_are_those_of_the_rfc() {
    let filter = Filter::parse("(&(uid={0})(cn=a*))", 1).unwrap();
    let expected = b"\xa0\x19\xa3\x0c\x04\x03uid\x04\x05a*(b)\xa4\x09\x04\x02cn\x30\x03\x80\x01a";
    assert_eq!(filter.encode(&["a*(b)"]).as_slice(), expected);
    let filter = Filter::parse("(m:dn:1.2:={0})", 1).unwrap();
    assert_eq!(filter.encode(&["x"]).as_slice(), b"\xa9\x0e\x81\x031.2\x82\x01m\x83\x01x\x84\x01\xff");
}

/// A filter keeps its shape, and the name arrives byte by byte.
#[test]
fn no_name_is_syntax() {
    let filter = Filter::parse("(uid={0})", 1).unwrap();
    for name in NAMES {
        let encoded = filter.encode(&[name]);
        let mut inside = ber::Reader::new(&encoded).inside(EQUAL).unwrap();
        assert_eq!(inside.expect(ber::OCTETS).unwrap(), b"uid");
        assert_eq!(inside.expect(ber::OCTETS).unwrap(), name.as_bytes());
        assert!(inside.is_empty());
        let shown = filter.show(&[name]);
        assert_eq!(Filter::parse(&shown.replace('{', "\\7b"), 0).unwrap().encode::<&str>(&[]), encoded, "{shown}");
    }
}

#[test]
fn what_a_filter_compares() {
    let filter = Filter::parse("(&(uid={0})(|(mail={0})(cn={0}x)(sn={1})))", 2).unwrap();
    assert_eq!((filter.compared_with(0), filter.compared_with(1)), (vec!["uid", "mail"], vec!["sn"]));
    assert!(filter.uses(0) && Filter::parse("(a=*{1}*)", 2).unwrap().uses(1));
    assert!(!Filter::parse("(a=*)", 2).unwrap().uses(1));
}

#[test]
fn anybody_is_who_has_the_attributes() {
    for (text, expected) in [
        ("(uid={0})", "(uid=*)"),
        ("(&(objectClass=person)(uid={0}))", "(&(objectClass=person)(uid=*))"),
        ("(|(uid={0})(mail={0}@a.test)(cn=x{0}*))", "(|(uid=*)(mail=*)(cn=*))"),
        ("(&(uid={0})(!(employeeType=robot))(cn>=a))", "(&(uid=*)(!(employeeType=robot))(cn>=a))"),
        ("(cn:caseExactMatch:={0})", "(cn=*)"),
        ("(:caseExactMatch:={0})", "(objectClass=*)"),
    ] {
        assert_eq!(Filter::parse(text, 1).unwrap().for_anybody().show::<&str>(&[]), expected, "{text}");
    }
}
