//! Our own log line: it is read as a general JSON reader reads it, or not at all.

use fm_telemetry::line::{self, Line, Side};
use fm_telemetry::record::SplitRecord;
use serde_json::Value;

pub(crate) fn check(bytes: &[u8]) {
    let Some(read) = line::parse(bytes) else {
        return;
    };
    assert!(read.class() <= 5);
    let _ = read.outcome();
    let again = text(&read);
    assert_eq!(line::parse(again.as_bytes()), Some(read), "{again}");
    if let Some(record) = SplitRecord::parse(read.record) {
        let written = record.encode();
        assert_eq!(SplitRecord::parse(&written), Some(record), "{written}");
    }
    agrees(bytes, &read);
}

/// The line as HAProxy would write it.
fn text(line: &Line<'_>) -> String {
    let [cause, phase] = line.termination.map(char::from);
    let mut fields = vec![format!(r#""rc":"{}""#, line.record)];
    if !line.record.is_empty() {
        let side = match line.side {
            Side::Stable | Side::StableFallback => "s",
            Side::Canary => "c",
            Side::Fallback => "f",
            Side::Forced => "m",
            Side::ForcedStable => "n",
            Side::Mirrored => "o",
            Side::Copy => "k",
            Side::ForCanary => "x",
            Side::ForStable => "y",
            Side::Handed => "h",
        };
        fields.push(format!(
            r#""sd":"{side}","st":{},"ts":"{cause}{phase}""#,
            line.status
        ));
        let ms = line.time_to_first_byte.map_or(-1, i64::from);
        let total = line.total_time.map_or(-1, i64::from);
        let grpc = line.grpc.map_or(-1, i64::from);
        fields.push(format!(r#""tr":{ms},"ta":{total},"gs":{grpc}"#));
        fields.push(format!(r#""a":"{}""#, line.endpoint));
    }
    if let Some(pair) = line.pair {
        fields.push(format!(r#""mi":{pair}"#));
    }
    if let Some((process, number)) = line.sequence {
        fields.push(format!(r#""p":{process},"n":{number}"#));
    }
    format!("{{{}}}", fields.join(","))
}

/// What a general JSON reader makes of it is the same. It need not read it: ours passes over more.
fn agrees(bytes: &[u8], read: &Line<'_>) {
    // A name or value with an escape is a different text to us, on purpose.
    if bytes.contains(&b'\\') {
        return;
    }
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let record = object.get("rc").and_then(Value::as_str);
    // HAProxy writes a dash where it has no record.
    let record = record.map(|text| if text == "-" { "" } else { text });
    assert_eq!(record, Some(read.record));
    // What it takes for a fraction (`-0`, too) is none of a comparison of whole numbers.
    let status = object.get("st").and_then(Value::as_i64);
    if let Some(status) = status.filter(|_| !read.record.is_empty()) {
        assert_eq!(status, i64::from(read.status));
    }
    let counted = |name| object.get(name).and_then(Value::as_u64);
    if let (Some(read), Some(counted)) = (read.sequence, counted("p").zip(counted("n"))) {
        assert_eq!(counted, read);
    }
}
