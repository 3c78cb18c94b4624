use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;
use crate::testkit::Site;

type Spoiler<'a> = &'a dyn Fn(&Path);

#[test]
fn what_cannot_be_read_or_written_is_a_problem_of_the_check() {
    let fifo = |path: &Path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    let folder = |path: &Path| fs::create_dir_all(path).unwrap();
    let open_to_all = |path: &Path| {
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let spoilers: [(&str, Spoiler<'_>); 3] =
        [("not a regular file", &fifo), ("not a regular file", &folder), ("mode 0644", &open_to_all)];
    for (file, kinds) in [
        ("conf/cams.conf", 0..2),
        ("conf/domains/security-domain-registry.xml", 0..2),
        ("conf/domains/system/access-control-policy.xml", 0..2),
        ("conf/domains/system/login-exception.properties", 0..2),
        ("conf/domains/system/cams-users.xml", 0..2),
        ("keys/key-encryption.key", 0..3),
        ("data/cams.db", 0..2),
        ("data/audit.jsonl", 0..2),
    ] {
        for (expected, spoil) in &spoilers[kinds] {
            let site = Site::new();
            check(&site.conf()).unwrap_or_else(|problems| panic!("{problems}"));
            let path = site.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            spoil(&path);
            let problems = check(&site.conf()).err().unwrap_or_else(|| panic!("{file}: good")).to_string();
            assert!(problems.contains(expected), "{file}: {problems}");
        }
    }
}
