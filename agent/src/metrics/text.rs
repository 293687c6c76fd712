//! The two text formats.

use std::fmt::{self, Write as _};

use prometheus_client::{encoding::text, registry::Registry};

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Prometheus,
}

impl Exposition {
    /// The format to answer an `Accept` header with: OpenMetrics where it is named, else the one
    /// that everything reads.
    pub fn wanted(accept: Option<&str>) -> Self {
        let names = |accept: &str| {
            accept.split(',').any(|range| range.split(';').next().unwrap_or_default().trim() == "application/openmetrics-text")
        };
        if accept.is_some_and(names) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Everything in a registry.
    ///
    /// # Errors
    ///
    /// When a metric cannot be encoded.
    pub fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(1 << 15);
        text::encode(&mut text, registry)?;
        match self {
            Self::OpenMetrics => Ok(text),
            Self::Prometheus => classic(&text),
        }
    }
}

/// OpenMetrics as Prometheus text: there a family is called as its samples are, `_total` and
/// `_info` included, and units and the end have no line
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
fn classic(text: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(described, _)| *described == name) {
                writeln!(out, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(out, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Exposition, classic};

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(Exposition::wanted(Some(prometheus)), Exposition::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain"), Some("application/openmetrics-textual"), Some("")] {
            assert_eq!(Exposition::wanted(other), Exposition::Prometheus, "{other:?}");
        }
    }

    #[test]
    fn families_are_called_as_their_samples() {
        let text = "# HELP a Help text.\n# TYPE a counter\na_total{x=\"# TYPE y\"} 1\n# HELP b I.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP c_seconds G.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2\n# EOF\n";
        assert_eq!(
            classic(text).as_deref(),
            Ok("# HELP a_total Help text.\n# TYPE a_total counter\na_total{x=\"# TYPE y\"} 1\n# HELP b_info I.\n# TYPE b_info gauge\n\
                b_info{v=\"1\"} 1\n# HELP c_seconds G.\n# TYPE c_seconds gauge\nc_seconds 2\n")
        );
    }
}
