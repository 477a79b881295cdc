//! The commands, and the flags of each.

use crate::text::time::Since;
use crate::text::units::{Sources, parse_source, parse_sources};
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
    /// List who scanned, and which ports: from the journal, or as a running exporter remembers it
    Scans(ScansFlags),
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
    /// Address of a source; or an IPv6 source, or network that hops, as in the labels: `2001:db8::/64`, `2001:db8:5::/48`
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
    /// How to show who asks
    #[command(flatten)]
    pub credentials: CredentialFlags,
}

/// `scans`: which, and of whom to know them.
#[derive(Debug, Clone, Args)]
pub struct ScansFlags {
    /// Scans that went on since then: a duration, a date like 2026-01-01, or a time like 2026-01-01T00:00:00Z (UTC)
    #[arg(id = "scans.since", long = "since", value_name = "24h|TIME", default_value = "24h")]
    pub since: Since,
    /// Scans of this address or network only; `many`: scans by many sources
    #[arg(id = "scans.source", long = "source", value_name = "CIDR|many", value_parser = parse_sources)]
    pub source: Option<Sources>,
    /// Unit whose records are read from the journal; empty: records of anybody, which any local user can write
    #[arg(id = "scans.unit", long = "unit", value_name = "UNIT", default_value = "portscan_exporter")]
    pub unit: String,
    /// Ask the exporter that listens there, and not the journal
    #[arg(
        id = "scans.listen_address",
        long = "web.listen-address",
        value_name = "HOST:PORT",
        conflicts_with = "scans.unit"
    )]
    pub address: Option<String>,
    /// How to show who asks
    #[command(flatten)]
    pub credentials: CredentialFlags,
    /// How to print them: a table, or one JSON object for each
    #[arg(
        id = "scans.format",
        long = "format",
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    pub format: AnswerFormat,
}

/// How to show an exporter who asks, and to know it.
#[derive(Debug, Clone, Args)]
pub struct CredentialFlags {
    /// YAML file with the password, certificate and authority for an exporter that has --web.config.file, as promtool takes it
    #[arg(id = "exporter.http_config_file", long = "http.config.file", value_name = "FILE")]
    pub http_config_file: Option<PathBuf>,
    /// The --web.config.file of an exporter on this host: enough where it asks for TLS and no password
    #[arg(id = "exporter.web_config_file", long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

/// How `explain` and `scans` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// Lines for people.
    Text,
    /// What a program reads.
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
