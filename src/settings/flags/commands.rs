//! The commands, and the flags of each.

use crate::text::units::parse_source;
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::path::PathBuf;

/// What to do instead of capturing live.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Report the scans in capture files (pcap or pcapng), on the packets' own time; needs no privilege
    Replay(ReplayFlags),
    /// Ask the running exporter why there is, or is no, alert for an address; needs no privilege
    Explain(ExplainFlags),
    /// Ask the running exporter whether it is healthy, as a container's health check: exit code 0 if it is, else 1
    Health(HealthFlags),
}

/// `replay`: which files, and how to report.
#[derive(Debug, Clone, Args)]
pub struct ReplayFlags {
    /// Capture files; `-` reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How to report: a table, one JSON object per scan, or the metrics at the end
    #[arg(
        id = "replay.format",
        long = "format",
        value_name = "text|json|metrics",
        default_value = "text",
        hide_possible_values = true
    )]
    pub format: ReportFormat,
}

/// `explain`: whom to ask for, and whom to ask.
#[derive(Debug, Clone, Args)]
pub struct ExplainFlags {
    /// Address of a source, or an IPv6 source as in the labels, `2001:db8::/64`
    #[arg(value_name = "ADDRESS", value_parser = parse_source)]
    pub address: IpNet,
    /// Whom to ask
    #[command(flatten)]
    pub exporter: ExporterFlags,
    /// How to print the answer
    #[arg(
        id = "explain.format",
        long = "format",
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    pub format: AnswerFormat,
}

/// `health`: what to ask, and whom.
#[derive(Debug, Clone, Args)]
pub struct HealthFlags {
    /// Ask whether it is ready, too: every interface captures
    #[arg(id = "health.ready", long = "ready")]
    pub ready: bool,
    /// Whom to ask
    #[command(flatten)]
    pub exporter: ExporterFlags,
}

/// Commands that ask a running exporter: where it is, and how to show who asks.
#[derive(Debug, Clone, Args)]
pub struct ExporterFlags {
    /// Where the exporter listens; without a host it is this one
    #[arg(
        id = "exporter.listen_address",
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = ":10220"
    )]
    pub address: String,
    /// YAML file with the password, certificate and authority for an exporter that has --web.config.file, as promtool takes it
    #[arg(id = "exporter.http_config_file", long = "http.config.file", value_name = "FILE")]
    pub http_config_file: Option<PathBuf>,
    /// The --web.config.file of an exporter on this host: enough where it asks for TLS and no password
    #[arg(id = "exporter.web_config_file", long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

/// How `explain` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// Lines for people.
    Text,
    /// What the exporter answered.
    Json,
}

/// How `replay` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table for people.
    Text,
    /// One JSON object per line and scan.
    Json,
    /// The exposition at the end of the files.
    Metrics,
}
