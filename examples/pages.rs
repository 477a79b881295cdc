//! Writes the manual pages and the completions of shells into a folder, from the flags as clap knows them:
//!
//! ```sh
//! cargo run --example pages -- target/package
//! ```

use clap_complete::Shell;
use clap_mangen::Man;
use portscan_exporter::settings::flags;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const NAME: &str = "portscan_exporter";

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("name a folder"))?;
    fs::create_dir_all(&folder)?;
    let mut command = flags::command();
    command.build();
    write_page(&folder, command.clone())?;
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        // Its own page, by the name that man finds it by: portscan_exporter-replay.
        let name: &'static str = format!("{NAME}-{}", command.get_name()).leak();
        write_page(&folder, command.clone().name(name))?;
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, NAME, &folder)?;
    }
    Ok(())
}

fn write_page(folder: &Path, mut command: clap::Command) -> io::Result<()> {
    let mut page = Vec::new();
    // As --help has it: clap_mangen's own names forty flags, and none of their values.
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim_start_matches(NAME).trim_start().replace('-', "\\-");
    let synopsis = format!("\\fB{NAME}\\fR {usage}");
    let name = command.get_name().to_owned();
    let source = concat!("portscan_exporter ", env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title(name.to_uppercase())
        .section("8")
        .date("")
        .source(source)
        .manual("System Administration")
        .render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let is_synopsis = |at: usize| page.lines().nth(at.wrapping_sub(1)) == Some(".SH SYNOPSIS");
    let line = |(at, line)| if is_synopsis(at) { &*synopsis } else { line };
    let lines: Vec<&str> = page.lines().enumerate().map(line).collect();
    fs::write(folder.join(format!("{name}.8")), lines.join("\n") + "\n")
}
