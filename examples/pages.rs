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

fn write_page(folder: &Path, command: clap::Command) -> io::Result<()> {
    let mut page = Vec::new();
    let name = command.get_name().to_owned();
    let source = concat!("portscan_exporter ", env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title(name.to_uppercase())
        .section("8")
        .date("")
        .source(source)
        .manual("System Administration")
        .render(&mut page)?;
    fs::write(folder.join(format!("{name}.8")), page)
}
