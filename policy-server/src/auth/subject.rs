use std::collections::{BTreeMap, BTreeSet};
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Subject {
    pub user: String,
    pub roles: BTreeSet<String>,
    pub attributes: BTreeMap<String, BTreeMap<String, String>>,
}
