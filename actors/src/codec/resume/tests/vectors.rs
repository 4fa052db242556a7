//! The conversation of `docs/PROTOCOL.md`, which was made by another implementation, through our own code.

use bytes::{Bytes, BytesMut};

use super::super::{
    proof::{Binding, Claim, Ticket},
    wire::{Attach, Attached, Decoder, Hello, Item, Message, NewOk, TAKES_RUNS, encode_data_head},
};

/// The value of a name in the document.
fn value(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).expect("the document is in the repository");
    let (_, text) = text
        .split_once("## Resumable session")
        .expect("it has the section");
    let mut lines = text.lines();
    let start = format!("{name} = ");
    let mut digits = lines
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("no {name} in the document"))
        .to_owned();
    lines
        .map_while(|line| line.strip_prefix("  "))
        .for_each(|more| digits.push_str(more));
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn encoded(messages: &[Message]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    messages
        .iter()
        .for_each(|message| message.encode(&mut bytes));
    bytes.to_vec()
}

/// All messages of some bytes, which are given one at a time.
fn decoded(bytes: &[u8]) -> Vec<Message> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for byte in bytes {
        let mut piece = Bytes::copy_from_slice(&[*byte]);
        match decoder.next(&mut piece).expect("a good message") {
            Some(Item::Message(message)) => messages.push(message),
            None => {}
            Some(Item::Data { .. }) => panic!("there is none"),
        }
    }
    assert!(!decoder.is_inside());
    messages
}

fn new_ok() -> NewOk {
    NewOk {
        session: value("session").try_into().expect("16 bytes"),
        secret: value("secret").try_into().expect("32 bytes"),
        incarnation: value("incarnation").try_into().expect("16 bytes"),
    }
}

#[test]
fn messages_are_the_bytes_of_the_document() {
    let hello = Message::Hello(Hello {
        features: TAKES_RUNS,
        silence: 15_000,
    });
    let ticket = Ticket {
        new: new_ok(),
        binding: Binding::noise([0xb0; 32]),
    };
    let second = Binding::noise([0xb1; 32]);
    let credit = (1 << 20) - 300;
    let attach = Message::Attach(Attach {
        session: new_ok().session,
        epoch: 1,
        received_to: 3,
        proof: ticket.prove(&Claim::Attach { received_to: 3 }, 1, &second),
    });
    let claim = Claim::Attached {
        received_to: 5,
        credit,
    };
    let attached = Message::Attached(Attached {
        received_to: 5,
        credit,
        proof: ticket.prove(&claim, 1, &second),
    });
    let first_words = Message::Ack {
        received_to: 0,
        credit: 1 << 20,
    };
    for (name, messages) in [
        ("ask", vec![hello, Message::New]),
        ("answer", vec![hello, Message::NewOk(new_ok())]),
        ("first words", vec![first_words]),
        ("ask again", vec![hello, attach]),
        ("answer again", vec![hello, attached]),
        ("end", vec![Message::Fin { offset: 5 }]),
        ("end known", vec![Message::FinOk]),
        ("signs", vec![Message::Ping, Message::Pong]),
        ("over", vec![Message::Gone(3)]),
        ("going", vec![Message::GoAway { received_to: 2 }]),
    ] {
        assert_eq!(encoded(&messages), value(name), "{name}");
        assert_eq!(decoded(&value(name)), messages, "{name}");
    }
    let mut data = BytesMut::new();
    encode_data_head(0, 5, &mut data);
    data.extend_from_slice(b"hello");
    assert_eq!(data[..], value("data"));
    data.clear();
    encode_data_head(5, 65_542, &mut data);
    assert_eq!(data[..], value("head of a run"));
}

#[test]
fn a_proof_is_for_one_claim_on_one_link() {
    let ticket = Ticket {
        new: new_ok(),
        binding: Binding::plain(),
    };
    let link = Binding::noise([1; 32]);
    let claim = Claim::Attach { received_to: 7 };
    let proof = ticket.prove(&claim, 3, &link);
    assert!(ticket.verify(&proof, &claim, 3, &link));
    let mut wrong = proof;
    wrong[31] ^= 1;
    assert!(!ticket.verify(&wrong, &claim, 3, &link));
    assert!(!ticket.verify(&proof, &claim, 4, &link));
    assert!(!ticket.verify(&proof, &Claim::Attach { received_to: 8 }, 3, &link));
    // The other direction.
    let back = Claim::Attached {
        received_to: 7,
        credit: 0,
    };
    assert!(!ticket.verify(&proof, &back, 3, &link));
    for other in [
        Binding::noise([2; 32]),
        Binding::tls([1; 32]),
        Binding::unix(0),
        Binding::plain(),
    ] {
        assert!(!ticket.verify(&proof, &claim, 3, &other), "{other:?}");
    }
    let mut stranger = ticket.clone();
    stranger.new.secret[0] ^= 1;
    assert!(!stranger.verify(&proof, &claim, 3, &link));
    stranger = ticket.clone();
    stranger.new.incarnation[0] ^= 1;
    assert!(!stranger.verify(&proof, &claim, 3, &link));
}

#[test]
fn a_session_keeps_to_one_kind_of_link_and_one_user() {
    assert!(Binding::noise([1; 32]).admits(&Binding::noise([2; 32])));
    assert!(!Binding::noise([1; 32]).admits(&Binding::plain()));
    assert!(!Binding::tls([1; 32]).admits(&Binding::noise([1; 32])));
    assert!(Binding::unix(1000).admits(&Binding::unix(1000)));
    assert!(!Binding::unix(1000).admits(&Binding::unix(0)));
}
