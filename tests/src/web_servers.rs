//! Web servers as they stand behind agents everywhere, each with its own idea of which paths are the same: nginx,
//! Apache httpd and a WSGI application. All have protected, administrators' and public content, and write down the
//! request lines they receive.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::services::{command, missing};
use crate::within;

/// What they have at `/<name>/page/…`; the body of an answer is `resource=<name>`.
pub const RESOURCES: [&str; 3] = ["public", "private", "admin"];

/// The header whose value stands before the request line in [`WebServer::log`].
pub const CASE: &str = "X-Case";

const READY: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct WebServer {
    pub address: SocketAddr,
    _process: Process,
    dir: TempDir,
}

impl WebServer {
    /// nginx: decodes once, merges slashes, resolves dot segments. `None` where it is not installed.
    pub async fn nginx() -> Option<Self> {
        let nginx = find(&["nginx"])?;
        let conf = |dir: &Path, address: SocketAddr| {
            let dir = dir.display();
            let locations =
                RESOURCES.map(|name| format!("location /{name}/ {{ return 200 resource={name}; }}")).join("\n");
            format!(
                "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ log_format raw escape=none '$http_x_case $request'; access_log {dir}/requests.log raw;\n\
                 client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
                 uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 1000000;\n\
                 server {{ listen {address}; {locations}\n\
                 location = / {{ return 200 resource=home; }} location / {{ return 404; }} }} }}\n"
            )
        };
        Some(
            Self::start(conf, |conf| {
                let mut command = Command::new(&nginx);
                command.arg("-e").arg(conf.with_file_name("error.log")).arg("-c").arg(conf);
                command
            })
            .await,
        )
    }

    /// Apache httpd at its most lenient. `None` where it is not installed.
    pub async fn apache() -> Option<Self> {
        let apache = find(&["apache2", "httpd"])?;
        let modules = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2"];
        let modules = modules.into_iter().find(|folder| Path::new(folder).is_dir()).expect("Apache has its modules");
        let conf = move |dir: &Path, address: SocketAddr| {
            let www = dir.join("www");
            for name in RESOURCES {
                fs::create_dir_all(www.join(name)).expect("our own folder");
                fs::write(www.join(name).join("page"), format!("resource={name}")).expect("our own folder");
            }
            fs::write(www.join("home"), "resource=home").expect("our own folder");
            // Started by root it serves as somebody else.
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("our own folder");
            let dir = dir.display();
            format!(
                "LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
                 LoadModule authz_core_module {modules}/mod_authz_core.so\nLoadModule dir_module {modules}/mod_dir.so\n\
                 ServerRoot {dir}\nServerName localhost\nListen {address}\nPidFile {dir}/pid\nErrorLog {dir}/error.log\n\
                 User #65534\nGroup #65534\nDefaultRuntimeDir {dir}\nMutex file:{dir}\nMaxKeepAliveRequests 0\n\
                 LogFormat \"%{{{CASE}}}i %r\" raw\nCustomLog {dir}/requests.log raw\nDocumentRoot {dir}/www\n\
                 DirectoryIndex home\nAllowEncodedSlashes On\nHttpProtocolOptions Unsafe\n\
                 <Directory {dir}/www>\nRequire all granted\nAcceptPathInfo On\n</Directory>\n"
            )
        };
        Some(
            Self::start(conf, |conf| {
                let mut command = Command::new(&apache);
                command.arg("-DFOREGROUND").arg("-f").arg(conf);
                command
            })
            .await,
        )
    }

    /// A WSGI application that reads more into a path than any other. `None` where there is no Python.
    pub async fn wsgi() -> Option<Self> {
        let python = find(&["python3"])?;
        let site = concat!(env!("CARGO_MANIFEST_DIR"), "/data/lenient_site.py");
        let conf =
            |dir: &Path, address: SocketAddr| format!("{}\n{}", address.port(), dir.join("requests.log").display());
        Some(
            Self::start(conf, |conf| {
                let mut command = Command::new(&python);
                command.arg(site).arg(conf);
                command
            })
            .await,
        )
    }

    /// What was received: the value of [`CASE`], and the request line.
    pub fn log(&self) -> Vec<(String, String)> {
        let text = fs::read(self.dir.path().join("requests.log")).expect("it logs");
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().filter_map(|line| line.split_once(' ')).map(|(case, line)| (case.into(), line.into())).collect()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn start(conf: impl Fn(&Path, SocketAddr) -> String, run: impl Fn(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address = SocketAddr::from(([127, 0, 0, 1], crate::port::free()));
        let file: PathBuf = dir.path().join("conf");
        fs::write(&file, conf(dir.path(), address)).expect("our own folder");
        let mut process = Process::spawn(&mut run(&file));
        within(READY, "the web server listens", || {
            assert!(!process.has_ended(), "the web server ended:\n{}", process.output());
            TcpStream::connect(address).is_ok()
        })
        .await;
        Self { address, _process: process, dir }
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    // Servers are often where only root's path leads.
    let sbin = names.iter().map(|name| Path::new("/usr/sbin").join(name)).find(|file| file.is_file());
    let found = command(names).or(sbin);
    if found.is_none() {
        missing(names[0]);
    }
    found
}
