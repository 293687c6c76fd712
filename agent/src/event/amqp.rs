//! `amqp` and `tls` of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Text;

/// What was seen of the AMQP conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amqp {
    /// `0-9-1` or `1.0`.
    pub version: Text,
    /// What this host's end is.
    pub role: AmqpRole,
    /// How far the connection had come; of 0-9-1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<AmqpPhase>,
    /// The heartbeat agreed on; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_s: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// The broker had blocked the connection (`connection.blocked`), and not unblocked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<AmqpClose>,
    /// The broker's last `channel.close` that named an error, or the client's. It ended a channel;
    /// what came after may have ended the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_close: Option<AmqpChannelClose>,
    /// Since the last heartbeat frame of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_ms: Option<u64>,
}

/// An end of an AMQP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AmqpRole {
    Broker,
    Client,
}

/// How far an AMQP connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AmqpPhase {
    /// The client's protocol header was sent.
    Header,
    /// The broker had sent `connection.start`.
    Start,
    /// The client had sent its credentials.
    Authentication,
    /// The broker had accepted them and sent `connection.tune`.
    Tune,
    /// The client had sent `connection.open`, or was about to.
    Opening,
    /// `connection.open-ok` was sent.
    Open,
    /// `connection.close` was sent.
    Closing,
    /// `connection.close-ok` was sent.
    Closed,
}

/// `connection.close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmqpClose {
    /// Which end sent it.
    pub from: AmqpRole,
    pub code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// `channel.close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmqpChannelClose {
    /// Which end sent it.
    pub from: AmqpRole,
    pub code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<u16>,
}

/// What was seen of TLS, by the types of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    pub stage: TlsStage,
    /// An alert left this host. Absent once TLS 1.3 may hide one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_sent: Option<bool>,
    /// An alert arrived. Absent once TLS 1.3 may hide one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_received: Option<bool>,
}

/// How far a TLS connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsStage {
    /// The client's hello was sent.
    ClientHello,
    /// The server answered it.
    Handshake,
    /// Application data, or what TLS 1.3 hides as such, was sent.
    ApplicationData,
}
