//! The command: parse, start the logger, run, exit code (0 done, 1 failed, 2 bad usage).

use portscan_exporter::publish::explain::Answer;
use portscan_exporter::settings::flags::{
    self, AnswerFormat, Command, CredentialFlags, EarlyExit, ExplainFlags, ExporterFlags, HealthFlags,
    ReplayFlags, ScansFlags,
};
use portscan_exporter::settings::{Ignored, Settings};
use portscan_exporter::system::{privilege, version};
use portscan_exporter::text::printable;
use portscan_exporter::{app, capture, history, logger, replay, web};
use std::io::{self, Write};
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    ended(run)
}

/// A panic ends it like any other fault, and says so whether or not the log is open yet.
fn ended(run: impl FnOnce() -> ExitCode + UnwindSafe) -> ExitCode {
    catch_unwind(run).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        fail(FAILED, &format!("panic in the main thread: {why} (please report it)"))
    })
}

fn run() -> ExitCode {
    let flags = match flags::parse(std::env::args_os()) {
        Ok(flags) => flags,
        Err(EarlyExit::Help(text)) => return print(&text),
        Err(EarlyExit::BadUsage(why)) => return fail(BAD_USAGE, &why),
    };
    if flags.version {
        return print(&version::text(&capture::libpcap_version()));
    }
    let takes_sockets = flags.web.systemd_socket && !flags.config.check;
    // Before the configuration is read, which may take its time: a reload that is asked for meanwhile is one.
    let shell = flags.command.is_none().then(|| app::Shell::new(takes_sockets));
    let settings = match Settings::of(flags) {
        Ok(settings) => settings,
        Err(error) => return fail(BAD_USAGE, &error.to_string()),
    };
    if settings.flags.config.check || settings.flags.command.is_some() {
        // Live, they go where the log goes.
        for warning in Ignored::by(&settings.policy).warnings(&settings.policy) {
            say(&format!("warning: the configuration blinds: {warning}"));
        }
        settings.idle(&settings.policy).iter().for_each(|warning| say(&format!("warning: {warning}")));
    }
    if settings.flags.config.check {
        return check(&settings);
    }
    if let Some(Command::Replay(flags)) = &settings.flags.command {
        return replay(&settings, flags);
    }
    if let Some(Command::Explain(flags)) = &settings.flags.command {
        return explain(flags);
    }
    if let Some(Command::Health(flags)) = &settings.flags.command {
        return health(flags);
    }
    if let Some(Command::Scans(flags)) = &settings.flags.command {
        return scans(flags);
    }
    match shell.unwrap_or_else(|| app::Shell::new(takes_sockets)).and_then(|shell| app::run(shell, settings))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(FAILED, &why),
    }
}

/// They mean something. Root reads every file; who the exporter will be may not, and then it would be seen at the start, or by a reload.
fn check(settings: &Settings) -> ExitCode {
    let who = match settings.flags.command {
        None => privilege::become_as_at_start(settings.flags.user.as_deref()),
        Some(_) => Ok(None),
    };
    match who {
        Err(error) => return fail(FAILED, &error.to_string()),
        Ok(None) => {}
        Ok(Some(who)) => settings.unreadable().iter().for_each(|why| {
            say(&format!(
                "warning: {why} (as {who}, which root becomes at the start; the unit's own user may read no more: let this user \
                 read it, choose another with --user, or in the unit use LoadCredential=)"
            ));
        }),
    }
    print("configuration is valid\n")
}

/// A running exporter: where it is, and how to show who asks. Else bad usage, and why.
fn asked(flags: &ExporterFlags) -> Result<(web::ListenAddress, web::Credentials), String> {
    Ok((address(&flags.address)?, credentials(&flags.credentials)?))
}

fn address(text: &str) -> Result<web::ListenAddress, String> {
    text.parse().map_err(|why| format!("--web.listen-address: {why}"))
}

fn credentials(flags: &CredentialFlags) -> Result<web::Credentials, String> {
    let credentials = flags.http_config_file.as_deref().map(web::Credentials::read).transpose();
    let credentials = credentials.map_err(|why| format!("--http.config.file: {why}"))?.unwrap_or_default();
    let Some(path) = &flags.web_config_file else { return Ok(credentials) };
    let own = web::ConfigFile::open(path).and_then(|file| credentials.to_own(&file));
    own.map_err(|why| format!("--web.config.file: {why}"))
}

/// Asks the running exporter.
fn explain(flags: &ExplainFlags) -> ExitCode {
    let (exporter, credentials) = match asked(&flags.exporter) {
        Ok(asked) => asked,
        Err(why) => return fail(BAD_USAGE, &why),
    };
    let address = flags.address;
    // An address stands without its length.
    let length = if address.prefix_len() == address.max_prefix_len() {
        ""
    } else {
        &format!("/{}", address.prefix_len())
    };
    let path = format!("/api/v1/explain?source={}{length}", address.addr());
    let (status, body) = match web::get(&exporter, &path, &credentials) {
        Ok(answer) => answer,
        Err(why) => return fail(FAILED, &why),
    };
    let complaint = |what: &str| {
        format!("the exporter at {exporter} {what}: {} {}", status.as_u16(), printable(body.trim()))
    };
    match (status.as_u16(), serde_json::from_str::<Answer>(&body)) {
        (200, Ok(_)) if flags.format == AnswerFormat::Json => print(&format!("{}\n", body.trim())),
        (200, Ok(answer)) => print(&answer.text()),
        (400, _) => fail(BAD_USAGE, printable(body.trim()).as_str()),
        (503, _) => fail(FAILED, &complaint("cannot answer now, try again")),
        (401, _) => fail(FAILED, &format!("the exporter at {exporter} {}", web::ASKS_PASSWORD)),
        _ => fail(
            FAILED,
            &complaint("does not know this question (is it a portscan_exporter of this version?)"),
        ),
    }
}

/// Asks the running exporter how it is; for whom an exit code is the answer.
fn health(flags: &HealthFlags) -> ExitCode {
    let (exporter, credentials) = match asked(&flags.exporter) {
        Ok(asked) => asked,
        Err(why) => return fail(BAD_USAGE, &why),
    };
    for (path, question) in [("/-/healthy", "healthy"), ("/-/ready", "ready")] {
        if question == "ready" && !flags.ready {
            continue;
        }
        match web::get(&exporter, path, &credentials) {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, _)) if status.as_u16() == 401 => {
                return fail(FAILED, &format!("the exporter at {exporter} {}", web::ASKS_PASSWORD));
            }
            Ok((status, body)) => {
                let why = printable(&body.trim().replace('\n', "; "));
                return fail(
                    FAILED,
                    &format!("the exporter at {exporter} is not {question}: {} {why}", status.as_u16()),
                );
            }
            Err(why) => return fail(FAILED, &why),
        }
    }
    print(&format!("the exporter at {exporter} is {}\n", if flags.ready { "ready" } else { "healthy" }))
}

/// Lists who scanned.
fn scans(flags: &ScansFlags) -> ExitCode {
    let CredentialFlags { http_config_file, web_config_file } = &flags.credentials;
    if flags.address.is_none() && (http_config_file.is_some() || web_config_file.is_some()) {
        let why = "--http.config.file and --web.config.file are for asking an exporter, and the journal is read: add --web.listen-address, or \
                   leave them out";
        return fail(BAD_USAGE, why);
    }
    let exporter = match (&flags.address, credentials(&flags.credentials)) {
        (_, Err(why)) => return fail(BAD_USAGE, &why),
        (None, Ok(_)) => None,
        (Some(text), Ok(credentials)) => match address(text) {
            Ok(address) => Some((address, credentials)),
            Err(why) => return fail(BAD_USAGE, &why),
        },
    };
    match history::run(flags, exporter) {
        Ok(text) => print(&text),
        Err(why) => fail(FAILED, &why),
    }
}

fn replay(settings: &Settings, flags: &ReplayFlags) -> ExitCode {
    match replay::run(settings, flags) {
        Ok(notes) => {
            notes.warnings.iter().chain(&notes.errors).for_each(|line| say(line));
            if notes.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("cannot print: {error}")),
    }
}

/// Prints to standard output; a reader that went away (`--help | head`) is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(FAILED, &format!("cannot print: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Says why it ends.
fn fail(code: u8, why: &str) -> ExitCode {
    say(why);
    ExitCode::from(code)
}

/// A line on standard error.
fn say(line: &str) {
    logger::last_words(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_main_thread_is_a_failure() {
        let code = |run: fn() -> ExitCode| format!("{:?}", ended(run));
        let failed = format!("{:?}", ExitCode::from(FAILED));
        assert_eq!(code(|| panic!("as a test")), failed);
        assert_eq!(code(|| panic!("as test {}", 2)), failed);
        assert_eq!(code(|| ExitCode::SUCCESS), format!("{:?}", ExitCode::SUCCESS));
    }
}
