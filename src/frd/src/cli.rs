//! The flags of `frd`. Each wins over the same setting of the file that `--config` names.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::store;

/// Progressive delivery for Docker Swarm behind HAProxy: the daemon.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "frd", version, about)]
pub struct Arguments {
    /// Work on the store instead of running.
    #[command(subcommand)]
    pub command: Option<store::Command>,
    /// A file with the same settings and more.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Keep everything in this folder [default: /var/lib/fridaymorning].
    #[arg(long, value_name = "DIR", conflicts_with = "etcd", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Make a new store in the data folder although there are traces of an earlier one.
    #[arg(long)]
    pub new_store: bool,
    /// Keep everything in this etcd instead, such as `http://10.0.0.1:2379`.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', global = true)]
    pub etcd: Vec<String>,
    /// The user that etcd knows.
    #[arg(long, value_name = "NAME")]
    pub etcd_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,
    /// The certificate authority that etcd's certificate must come from, in PEM.
    #[arg(long, value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate for etcd, in PEM.
    #[arg(long, value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,
    /// The key of our certificate for etcd, in PEM.
    #[arg(long, value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,
    /// Which controllers run here: `all`, `none`, or some of promotion, swarm, haproxy, analysis, gates, node [default: all].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub controllers: Vec<String>,
    /// Where the API is served [default: unix:/run/fridaymorning/frd.sock].
    #[arg(long, value_name = "unix:PATH", global = true)]
    pub listen: Option<String>,
    /// The group that may speak to the API besides the owner of the socket.
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// Where Docker's API is [default: unix:///var/run/docker.sock].
    #[arg(long, value_name = "unix://PATH")]
    pub docker: Option<String>,
    /// Where HAProxy takes requests [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub http_bind: Vec<String>,
    /// HAProxy's configuration, maps and sockets [default: haproxy in the data folder, or /run/fridaymorning/haproxy].
    #[arg(long, value_name = "DIR")]
    pub haproxy_dir: Option<PathBuf>,
    /// The HAProxy program [default: haproxy].
    #[arg(long, value_name = "PROGRAM")]
    pub haproxy_binary: Option<PathBuf>,
    /// How HAProxy reaches tasks [default: host-ports].
    #[arg(long, value_name = "HOW")]
    pub endpoints: Option<Endpoints>,
    /// Change nothing in Swarm and HAProxy; say what would be done.
    #[arg(long)]
    pub observe_only: bool,
    /// The name of this HAProxy among others [default: the machine's name].
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,frd_daemon=debug` [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How the log is written [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How HAProxy reaches tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoints {
    /// By ports that Swarm publishes on each task's node.
    #[default]
    HostPorts,
    /// By the tasks' own addresses: HAProxy is in the same overlay network.
    Overlay,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}
