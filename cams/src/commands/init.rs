//! `cams init`: the files of quickstart for production.

use std::path::Path;
use std::process::ExitCode;

use crate::output;
use crate::provision::Layout;

pub fn run(dir: &Path) -> anyhow::Result<ExitCode> {
    let layout = Layout::create(dir)?;
    layout.write_server(None)?;
    let conf = layout.cams_conf();
    output::line(format!("The policy server's configuration: {}", conf.display()));
    output::line("");
    output::line("Next:");
    output::line(format!("  1. put people into {}", layout.path("conf/domains/system/cams-users.xml").display()));
    output::line(format!("  2. cams check --conf {}", conf.display()));
    output::line(format!("  3. cams policy-server --conf {}", conf.display()));
    output::line(format!(
        "  4. cams agent add web1 --conf {} --host app.example.org --upstream http://10.0.0.5:8080",
        conf.display()
    ));
    Ok(ExitCode::SUCCESS)
}
