//! Auth valves: what happens around every login of a security domain, whichever way it came.
//!
//! A new valve is one file and one line in [`TABLE`]. It sees an attempt before and after the login stack; it never looks
//! into a directory and never makes a login succeed.

pub mod throttle;

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::modules::Services;
use super::valve::AuthValve;

/// Takes its parameters and reports what is wrong with them; what it does not take is reported for it.
type Constructor = fn(&mut Options, &Services, &mut Problems) -> Box<dyn AuthValve>;

/// A class of auth valves.
#[derive(Debug)]
pub struct ValveKind {
    pub class: &'static str,
    /// In force also where `security-domain.xml` does not name it.
    pub by_default: bool,
    construct: Constructor,
}

static TABLE: [ValveKind; 1] = [ValveKind { class: throttle::CLASS, by_default: true, construct: throttle::construct }];

pub fn find(class: &str) -> Option<&'static ValveKind> {
    TABLE.iter().find(|kind| kind.class == class)
}

pub fn all() -> impl Iterator<Item = &'static ValveKind> {
    TABLE.iter()
}

impl ValveKind {
    /// The valve these parameters describe. Where they are wrong, `problems` says why.
    pub fn build(&self, mut params: Options, services: &Services, problems: &mut Problems) -> Box<dyn AuthValve> {
        let valve = (self.construct)(&mut params, services, problems);
        params.finish(problems);
        valve
    }
}
