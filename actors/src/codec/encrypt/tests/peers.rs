//! Peers that do not go together, and those that do.

use super::*;

#[test]
fn both_ends_learn_the_same_binding_and_features() {
    let left = config().features(0b0111, 0b0001);
    let right = config().features(0b1101, 0b0100);
    let pair = open_pair(&left, &right);
    let [ConnectionEvent::Established { binding, features }, ..] = pair.left.events() else {
        panic!("{:?}", pair.left.events());
    };
    assert_eq!(*features, 0b0101);
    let same = format!("{:?}", pair.left.events()) == format!("{:?}", pair.right.events());
    assert!(same, "{:?} {:?}", pair.left.events(), pair.right.events());
    let mut other = Bench::new(
        Encrypt::new(&left, Side::Dialled, Key::new([4; 32])),
        acceptor(&right),
    );
    other.run();
    assert!(
        !format!("{:?}", other.left.events()).contains(&format!("{binding:?}")),
        "another connection has another binding"
    );
}

/// The hello does not open at the accepting end, which says nothing; the other one is left without an answer.
#[track_caller]
fn assert_strangers(left: &EncryptConfig, right: &EncryptConfig) {
    let mut pair = pair(left, right);
    pair.right.write(chunk(b"secret"));
    pair.left.write(chunk(b"secret"));
    pair.run();
    assert_encryption_error(&pair.right);
    assert_eq!(sent(&mut pair.right), b"", "a stranger gets no answer");
    assert!(!is_established(&pair.left) && !is_established(&pair.right));
    pair.left.end();
    assert_lost(&pair.left);
}

#[test]
fn another_key_is_refused() {
    assert_strangers(&EncryptConfig::new(key(8)), &config());
}

#[test]
fn another_label_is_refused() {
    let label = |label: &str| config().label(label).expect("short");
    assert_strangers(&label("payments"), &label("invoices"));
    assert_strangers(&label("payments"), &config());
}

#[test]
fn another_version_is_refused() {
    let mut pair = pair(&config(), &config());
    let prologue = prologue(VERSION + 1, "");
    let mut later = Handshake::new(Side::Dialled, &prologue, &key(1), &Key::new([9; 32]));
    pair.right
        .read(chunk(&unit(&later.write(&terms().encode()))));
    assert_encryption_error(&pair.right);
    assert_eq!(sent(&mut pair.right), b"");
}

#[test]
fn labels_cannot_be_shifted_into_each_other() {
    assert_ne!(prologue(1, "ab"), prologue(1, "a"));
    assert_ne!(prologue(1, ""), prologue(1, "\0"));
    assert!(config().label("x".repeat(255)).is_ok());
    assert!(config().label("x".repeat(256)).is_err());
}

#[test]
fn each_of_four_keys_is_accepted_and_a_fifth_is_not_held() {
    let mut server = config();
    for of in 2..=MAX_KEYS as u8 {
        server = server.also_accept(key(of)).expect("up to four");
    }
    for of in 1..=MAX_KEYS as u8 {
        let mut pair = open_pair(&EncryptConfig::new(key(of)).liveness(None), &server);
        pair.left.write(chunk(&[of]));
        pair.right.write(chunk(&[of, of]));
        pair.run();
        assert_eq!(text(&mut pair.right), [of]);
        assert_eq!(text(&mut pair.left), [of, of]);
    }
    assert_strangers(&EncryptConfig::new(key(5)), &server);
    assert!(matches!(
        server.also_accept(key(5)),
        Err(StreamError::ApiMisuse(_))
    ));
}

#[test]
fn a_missing_feature_is_told_to_both_ends() {
    for (left, right) in [
        (config().features(0, 1), config()),
        (config(), config().features(0, 1)),
    ] {
        let mut pair = pair(&left, &right);
        pair.left.write(chunk(b"secret"));
        pair.right.write(chunk(b"secret"));
        pair.run();
        for end in [&mut pair.left, &mut pair.right] {
            assert_encryption_error(end);
            assert!(!is_established(end));
            assert_eq!(text(end), b"");
        }
    }
}

#[test]
fn terms_out_of_range_are_refused() {
    let good = terms();
    let with = |change: fn(&mut Terms)| {
        let mut terms = good;
        change(&mut terms);
        terms.encode().to_vec()
    };
    let too_small = with(|terms| terms.max_record = MIN_RECORD - 1);
    let too_large = with(|terms| terms.max_record = MAX_RECORD + 1);
    let impatient = with(|terms| terms.silence = Some(MIN_SILENCE / 2));
    for payload in [too_small, too_large, impatient] {
        let mut pair = pair(&config(), &config());
        HandMade::answer(&mut pair.left, &payload);
        assert_encryption_error(&pair.left);
        let prologue = prologue(VERSION, "");
        let mut peer = Handshake::new(Side::Dialled, &prologue, &key(1), &Key::new([9; 32]));
        pair.right.read(chunk(&unit(&peer.write(&payload))));
        assert_encryption_error(&pair.right);
    }
}

#[test]
fn an_end_refuses_features_that_it_did_not_offer() {
    let mut pair = pair(&config().features(0b01, 0), &config());
    let mut chosen = terms();
    chosen.features = 0b11;
    let mut peer = HandMade::answer(&mut pair.left, &chosen.encode());
    assert_encryption_error(&pair.left);
    let wire = sent(&mut pair.left);
    assert_eq!(peer.open(&wire), [(Kind::Close as u8, vec![1])]);
}

#[test]
fn a_refusal_is_no_proof() {
    let mut pair = pair(&config(), &config());
    pair.right.write(chunk(b"secret"));
    let mut peer = HandMade::dial(&mut pair.right, &terms().encode());
    pair.right
        .read(chunk(&peer.record(Kind::Close as u8, &[1])));
    assert_encryption_error(&pair.right);
    assert!(!is_established(&pair.right));
    assert_eq!(sent(&mut pair.right), b"");
}

#[test]
fn later_versions_may_say_more() {
    let mut pair = pair(&config(), &config());
    let mut payload = terms().encode().to_vec();
    payload.extend_from_slice(&[0xab; 200]);
    let mut peer = HandMade::dial(&mut pair.right, &payload);
    pair.right.read(chunk(&peer.record(0, b"hello")));
    assert_eq!(text(&mut pair.right), b"hello");
}

#[test]
fn the_smaller_record_size_counts() {
    let (small, large) = (
        config().max_record(MIN_RECORD),
        config().max_record(MAX_RECORD),
    );
    for (left, right) in [(&small, &large), (&large, &small)] {
        let mut pair = open_pair(left, right);
        let data = vec![7; 300_000];
        pair.left.write(chunk(&data));
        pair.right.write(chunk(&data));
        for end in [&mut pair.left, &mut pair.right] {
            let largest = units(&sent(end)).iter().map(Vec::len).max();
            assert_eq!(largest, Some(MIN_RECORD + RECORD_OVERHEAD));
        }
    }
}

#[test]
fn nothing_that_prints_shows_a_key() {
    let bytes: Vec<u8> = (0xa1..0xc1).collect();
    let secret = Key::parse(&bytes).expect("32 bytes");
    assert_eq!(format!("{secret:?}"), "[key]");
    let config = EncryptConfig::new(secret);
    let pair = pair(&config, &config);
    let mut shown = format!("{config:?} {:?}", dialler(&config));
    shown += &format!("{:?} {:?}", acceptor(&config), pair.left.failure());
    assert!(shown.contains("[key]"));
    for window in bytes.windows(3) {
        let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = window.iter().map(ToString::to_string).collect();
        assert!(!shown.to_lowercase().contains(&hex), "{shown}");
        assert!(!shown.contains(&list.join(", ")), "{shown}");
    }
}
