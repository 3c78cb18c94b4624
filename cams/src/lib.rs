//! What the `cams` command is made of beyond the two libraries it fronts.

pub mod sample_site;
