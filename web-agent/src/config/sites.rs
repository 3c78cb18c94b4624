//! `cams.site.<name>.*`: the sites, each with a host of its own.

use std::sync::Arc;

use shared_proto::options::Options;

use super::Reader;
use crate::head::Scheme;
use crate::origin::{Authority, Origin};
use crate::site::{Site, Upstream};

/// Instead of an upstream's address: only the agent's own pages.
const NO_UPSTREAM: &str = "none";

impl Reader<'_> {
    pub(super) fn sites(&mut self) -> Vec<Arc<Site>> {
        let groups = self.groups("cams.site.", |rest| rest.split_once('.'));
        if groups.is_empty() {
            self.problems.add(self.file, 0, "there is no site: write `cams.site.<name>.host` and `.upstream`");
        }
        let mut sites: Vec<Arc<Site>> = Vec::new();
        for (name, options) in groups {
            let line = options.line();
            let Some(site) = self.site(name, options) else { continue };
            let overlaps = |other: &&Arc<Site>| {
                other.host == site.host && (other.port == site.port || other.port.is_none() || site.port.is_none())
            };
            if let Some(other) = sites.iter().find(overlaps) {
                let message = format!("the sites `{}` and `{}` answer to the same host", other.name, site.name);
                self.problems.add(self.file, line, message);
            }
            sites.push(Arc::new(site));
        }
        sites
    }

    fn site(&mut self, name: String, mut options: Options) -> Option<Site> {
        let prefix = format!("cams.site.{name}.");
        let mut required = |key: &str| {
            let key = format!("{prefix}{key}");
            let line = options.line_of(&key);
            options.require(&key, &mut self.problems).map(|value| (value, line))
        };
        let (host, upstream) = (required("host"), required("upstream"));
        let ca = options.take(&format!("{prefix}upstream.ca"));
        let jami = options.take_bool(&format!("{prefix}jami"), false, &mut self.problems);
        options.finish(&mut self.problems);
        let host =
            host.and_then(|(text, line)| self.parsed(&text, line, "a host name, or host:port", Authority::parse));
        let what = "an address such as http://127.0.0.1:8080, or none";
        let parse = |text: &str| if text == NO_UPSTREAM { Some(None) } else { upstream_origin(text).map(Some) };
        let upstream = upstream.and_then(|(text, line)| self.parsed(&text, line, what, parse));
        let (host, upstream) = (host?, upstream?);
        let is_https = upstream.as_ref().is_some_and(|origin| origin.scheme == Scheme::Https);
        if let Some((_, line)) = ca.as_ref().filter(|_| !is_https) {
            self.problems.add(self.file, *line, "a CA is of no use for an upstream without https");
        }
        let ca = ca.map(|(path, _)| self.path(&path));
        let upstream = upstream.map(|Origin { scheme, host, port }| Upstream { scheme, host, port, ca });
        Some(Site { name, host: host.host, port: host.port, upstream, jami })
    }
}

fn upstream_origin(text: &str) -> Option<Origin> {
    Origin::parse(text.strip_suffix('/').unwrap_or(text))
}
