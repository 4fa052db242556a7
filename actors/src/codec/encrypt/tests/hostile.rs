//! Somebody on the path who changes, repeats, drops, mixes or keeps what travels.

use super::*;
use crate::{
    codec::{Codec, Host, Output},
    credit::Gate,
    message::{Read, Write},
};

/// What the two ends of one connection sent: the handshake, and then the dialling end's records.
struct Recorded {
    hello: Vec<u8>,
    answer: Vec<u8>,
    records: Vec<Vec<u8>>,
    text: Vec<u8>,
}

/// A short conversation in which every kind of record that an end sends by itself occurs.
fn record(ephemeral: u8) -> Recorded {
    let config = config().rekey_after(RekeyAfter::default().records(3));
    let dialler = Encrypt::new(&config, Side::Dialled, Key::new([ephemeral; 32]));
    let mut pair = Bench::new(dialler, acceptor(&config));
    let hello = sent(&mut pair.left);
    pair.right.read(chunk(&hello));
    let answer = sent(&mut pair.right);
    pair.left.read(chunk(&answer));
    for word in [&b"attack"[..], b"at", b"dawn", b"or", b"later"] {
        pair.left.write(chunk(word));
    }
    pair.left.finish();
    let records = units(&sent(&mut pair.left));
    pair.right.read(chunk(&records.concat()));
    assert!(pair.right.has_ended());
    Recorded {
        hello,
        answer,
        records,
        text: text(&mut pair.right),
    }
}

/// The accepting end of the recorded connection, once it has sent its answer.
fn accepting(recorded: &Recorded) -> End<Encrypt> {
    let Bench { mut right, .. } = pair(&config(), &config());
    right.read(chunk(&recorded.hello));
    assert_eq!(sent(&mut right), recorded.answer);
    right
}

/// Gives changed records to the accepting end: what came in front of the first bad one is delivered, no end is told,
/// and the failure says that somebody interfered.
#[track_caller]
fn refused(recorded: &Recorded, records: &[Vec<u8>], good: usize) {
    let mut end = accepting(recorded);
    end.read(chunk(&records.concat()));
    end.end();
    assert_encryption_error(&end);
    // What repeats the end comes behind a good one.
    assert_eq!(end.has_ended(), good == recorded.records.len());
    let mut whole = accepting(recorded);
    whole.read(chunk(&recorded.records[..good].concat()));
    assert_eq!(text(&mut end), text(&mut whole));
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Either error is right: a changed length may promise more than ever comes.
#[track_caller]
fn assert_noticed(end: &End<Encrypt>, bit: usize) {
    assert!(
        matches!(
            end.failure(),
            Some(StreamError::Encryption(_) | StreamError::ConnectionLost(_))
        ),
        "bit {bit}: {:?}",
        end.failure()
    );
    assert!(!end.has_ended(), "bit {bit}");
}

#[test]
fn every_flipped_bit_of_the_handshake_is_noticed() {
    let recorded = record(2);
    for bit in 0..recorded.hello.len() * 8 {
        let mut pair = pair(&config(), &config());
        pair.right.read(chunk(&flipped(&recorded.hello, bit)));
        pair.right.end();
        assert_noticed(&pair.right, bit);
        assert_eq!(sent(&mut pair.right), b"", "bit {bit}");
    }
    for bit in 0..recorded.answer.len() * 8 {
        let mut pair = pair(&config(), &config());
        assert_eq!(sent(&mut pair.left), recorded.hello);
        pair.left.read(chunk(&flipped(&recorded.answer, bit)));
        pair.left.end();
        assert_noticed(&pair.left, bit);
        assert!(!is_established(&pair.left), "bit {bit}");
        assert_eq!(sent(&mut pair.left), b"", "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_the_records_is_noticed() {
    let recorded = record(2);
    let wire = recorded.records.concat();
    for bit in 0..wire.len() * 8 {
        let mut end = accepting(&recorded);
        end.read(chunk(&flipped(&wire, bit)));
        end.end();
        assert_noticed(&end, bit);
        let text = text(&mut end);
        assert!(recorded.text.starts_with(&text), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_a_loss() {
    let recorded = record(2);
    let wire = recorded.records.concat();
    for length in 0..wire.len() {
        let mut end = accepting(&recorded);
        end.read(chunk(&wire[..length]));
        end.end();
        assert_lost(&end);
        assert!(!end.has_ended(), "{length}");
        assert!(recorded.text.starts_with(&text(&mut end)), "{length}");
    }
    for length in 0..recorded.answer.len() {
        let mut pair = pair(&config(), &config());
        sent(&mut pair.left);
        pair.left.read(chunk(&recorded.answer[..length]));
        pair.left.end();
        assert_lost(&pair.left);
    }
    for length in 0..recorded.hello.len() {
        let mut pair = pair(&config(), &config());
        pair.right.read(chunk(&recorded.hello[..length]));
        pair.right.end();
        assert_lost(&pair.right);
    }
}

#[test]
fn a_repeated_record_is_refused() {
    let recorded = record(2);
    for at in 0..recorded.records.len() {
        let mut records = recorded.records.clone();
        records.insert(at, records[at].clone());
        refused(&recorded, &records, at + 1);
    }
}

#[test]
fn exchanged_records_are_refused() {
    let recorded = record(2);
    for at in 1..recorded.records.len() {
        let mut records = recorded.records.clone();
        records.swap(at - 1, at);
        refused(&recorded, &records, at - 1);
    }
}

#[test]
fn a_dropped_record_is_refused() {
    let recorded = record(2);
    // Without the last one it is a truncation.
    for at in 0..recorded.records.len() - 1 {
        let mut records = recorded.records.clone();
        records.remove(at);
        refused(&recorded, &records, at);
    }
}

#[test]
fn a_record_of_another_connection_is_refused() {
    let (recorded, other) = (record(2), record(4));
    for at in 0..recorded.records.len() {
        let mut records = recorded.records.clone();
        records[at] = other.records[at].clone();
        refused(&recorded, &records, at);
    }
}

#[test]
fn what_an_end_sent_does_not_come_back_to_it() {
    let mut pair = pair(&config(), &config());
    let hello = sent(&mut pair.left);
    pair.left.read(chunk(&hello));
    assert_encryption_error(&pair.left);

    let mut pair = open_pair(&config(), &config());
    for end in [&mut pair.left, &mut pair.right] {
        end.write(chunk(b"mine"));
        let wire = sent(end);
        end.read(chunk(&wire));
        assert_encryption_error(end);
        assert_eq!(text(end), b"");
    }
}

#[test]
fn a_conversation_that_is_sent_again_gets_nothing() {
    let recorded = record(2);
    let server = Encrypt::new(&config(), Side::Accepted, Key::new([4; 32]));
    let Bench { mut right, .. } = Bench::new(dialler(&config()), server);
    right.write(chunk(b"for the client alone"));
    right.read(chunk(&recorded.hello));
    let answer = sent(&mut right);
    assert_eq!(units(&answer).len(), 1, "the answer to a hello that opens");
    assert!(!is_established(&right), "the hello alone proves nothing");
    right.read(chunk(&recorded.records.concat()));
    assert_encryption_error(&right);
    assert!(!is_established(&right));
    assert_eq!((sent(&mut right), text(&mut right)), (vec![], vec![]));
}

#[test]
fn both_ends_learn_of_a_forgery() {
    let mut pair = open_pair(&config(), &config());
    pair.left.write(chunk(b"hello"));
    let wire = sent(&mut pair.left);
    pair.right.read(chunk(&flipped(&wire, 99)));
    assert_encryption_error(&pair.right);
    pair.run();
    assert_encryption_error(&pair.left);
    let shown = pair.left.failure().expect("told").to_string();
    assert!(shown.contains("could not open"), "{shown}");
}

/// A host whose kernel takes nothing: what goes down is kept with its credit.
struct Stuck(Arc<Gate>);

impl Host for Stuck {
    fn now(&self) -> std::time::Instant {
        crate::runtime::start_of_virtual_time()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.0
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.0
    }
}

/// An open accepting end, its hand-made peer, and a host that is stuck from now on.
fn stuck(config: &EncryptConfig) -> (Encrypt, HandMade, Stuck) {
    let mut codec = acceptor(config);
    let host = Stuck(Gate::new(1 << 20));
    let prologue = prologue(VERSION, "");
    let mut handshake = Handshake::new(Side::Dialled, &prologue, &key(1), &Key::new([9; 32]));
    give(
        &mut codec,
        &host,
        &unit(&handshake.write(&terms().encode())),
    )
    .expect("good");
    let answer = match codec.poll_output(true, &host).expect("good") {
        Some(Output::Down(write)) => write.unit.pieces()[0].to_vec(),
        other => panic!("{other:?}"),
    };
    handshake.read(&answer[2..]).expect("good");
    let mut peer = HandMade::new(handshake);
    give(&mut codec, &host, &peer.record(5, b"")).expect("good");
    (codec, peer, host)
}

fn give(codec: &mut Encrypt, host: &Stuck, bytes: &[u8]) -> Result<(), StreamError> {
    let credit = host.0.charge(bytes.len());
    let unit = chunk(bytes);
    codec.handle_read(Read { unit, credit }, host)
}

fn outputs(codec: &mut Encrypt, host: &Stuck) -> Vec<Output<Chunk, Chunk>> {
    std::iter::from_fn(|| codec.poll_output(true, host).expect("no failure")).collect()
}

#[test]
fn a_peer_that_asks_and_does_not_read_cannot_fill_our_memory() {
    let (mut codec, mut peer, host) = stuck(&config());
    outputs(&mut codec, &host);
    let mut kept = Vec::new();
    for _ in 0..1000 {
        give(&mut codec, &host, &peer.record(4, b"")).expect("good");
        kept.extend(outputs(&mut codec, &host));
    }
    assert_eq!(kept.len(), 1, "one answer is under way");
    drop(kept);
    give(&mut codec, &host, &peer.record(4, b"")).expect("good");
    assert_eq!(outputs(&mut codec, &host).len(), 1);
    assert_eq!(host.0.used(), 0, "records without text hold no credit");
}

#[test]
fn after_a_failure_good_records_are_not_taken_either() {
    let (mut codec, mut peer, host) = stuck(&config());
    outputs(&mut codec, &host);
    let good = peer.record(0, b"good");
    give(&mut codec, &host, &flipped(&good, 77)).expect("told by an output");
    let told = outputs(&mut codec, &host);
    let failed = matches!(told[..], [Output::Down(_), Output::Fail(_)]);
    assert!(failed, "{told:?}");
    give(&mut codec, &host, &good).expect("ignored");
    let unit = chunk(b"too late");
    let credit = host.0.charge(unit.len());
    codec
        .handle_write(Write { unit, credit }, &host)
        .expect("ignored");
    assert_eq!(outputs(&mut codec, &host).len(), 0);
    assert_eq!(host.0.used(), 0);
}

#[test]
fn a_connection_whose_directions_have_ended_wants_no_timer() {
    let (mut codec, mut peer, host) = stuck(&EncryptConfig::new(key(1)));
    assert!(codec.poll_timeout().is_some());
    codec.handle_finish(&host).expect("open");
    assert!(codec.poll_timeout().is_some(), "it still listens");
    give(&mut codec, &host, &peer.record(1, b"")).expect("the end");
    assert!(codec.poll_timeout().is_none());
}
