//! Frames recorded from Python.

use super::*;

fn vectors() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/frames.json");
    let text = std::fs::read_to_string(path).expect("the vectors are part of the repository");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn list(of: &serde_json::Value) -> &[serde_json::Value] {
    of.as_array().expect("a list")
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("hex") as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A payload as `tests/vectors/README.md` describes it.
fn payload_of(spec: &serde_json::Value) -> Vec<u8> {
    let len = usize::try_from(spec["len"].as_u64().expect("a length")).expect("a length");
    let payload: Vec<u8> = match spec["pattern"].as_str().expect("a pattern") {
        "zero" => vec![0; len],
        "a" => vec![b'a'; len],
        "ramp" => (0..len).map(|at| (at & 255) as u8).collect(),
        "hash" => (0u32..)
            .flat_map(|counter| Sha256::digest(counter.to_be_bytes()))
            .take(len)
            .collect(),
        other => panic!("unknown pattern {other}"),
    };
    assert_eq!(sha256(&payload), spec["sha256"].as_str().expect("a hash"));
    payload
}

#[test]
fn plain_frames_are_written_as_python_writes_them() {
    let vectors = vectors();
    let mut compared = 0;
    for case in list(&vectors["send"])
        .iter()
        .filter(|case| case["header_flag"] == 0)
    {
        let payload = payload_of(&case["payload"]);
        let mut bench = bench(64 << 20);
        bench.left.write(Frames::from_iter([Bytes::from(payload)]));
        let wire: Vec<u8> = bench.left.wire().drain(..).collect();
        assert_eq!(wire.len() as u64, case["frame_len"], "{case}");
        assert_eq!(sha256(&wire), case["frame_sha256"], "{case}");
        compared += 1;
    }
    assert!(compared >= 14, "{compared}");
}

#[test]
fn frames_that_python_wrote_are_read() {
    let vectors = vectors();
    let mut compared = 0;
    for case in list(&vectors["send"]) {
        let payload = payload_of(&case["payload"]);
        let wire = match case["frame_hex"].as_str() {
            Some(hex) => unhex(hex),
            None if case["header_flag"] == 0 => frame(&payload),
            None => continue,
        };
        assert_eq!(sha256(&wire), case["frame_sha256"], "{case}");
        let (frames, error) = receive(64 << 20, &wire);
        assert!(error.is_none(), "{case}: {error:?}");
        assert!(frames.len() == 1 && frames[0] == payload, "{case}");
        compared += 1;
    }
    assert!(compared >= 17, "{compared}");
}

#[test]
fn hand_made_frames_are_judged_as_python_judges_them() {
    let vectors = vectors();
    assert_eq!(list(&vectors["recv"]).len(), 14);
    for case in list(&vectors["recv"]) {
        let wire = unhex(case["hex"].as_str().expect("bytes"));
        let (frames, error) = receive(64 << 20, &wire);
        if case["name"] == "flag_2_is_compressed" {
            // The one flag with a meaning of its own here; no RPyC writes it.
            assert!(
                matches!(error, Some(StreamError::Compression(_))),
                "{error:?}"
            );
            continue;
        }
        if case["ok"] == true {
            let payload = unhex(case["payload_hex"].as_str().expect("bytes"));
            assert!(error.is_none(), "{case}: {error:?}");
            assert_eq!(frames, [payload], "{case}");
        } else {
            assert!(frames.is_empty() && error.is_some(), "{case}");
        }
    }
}
