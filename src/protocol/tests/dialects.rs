//! The two forms of the envelope. The bytes of RPyC 5 were recorded from rpyc 5.3.1.

use super::*;
use crate::brine::Str;

const GETROOT_5: &[u8] = b"\x12\x51\x50\x11\x53\x11\x51\x02";
const GETROOT_6: &[u8] = b"\x01\x11\x50\x11\x53\x11\x51\x02";
const CLOSE_5: &[u8] = b"\x12\x51\x50\x11\x52\x11\x51\x02";
/// The answer of a `ThreadedServer` to GETROOT, with a class of the test's own.
const ROOT_5: &[u8] =
    b"\x12\x52\x50\x11\x54\x12\x08\x0e\x0a__main__.S\x16\x0e94588674734288\x16\x0f140271207696144";

fn heard(end: &mut End, payload: &'static [u8]) -> Result<Incoming<u64, Thing>, ProtocolError> {
    end.handle_frame(Bytes::from_static(payload))
}

fn get_root(end: &mut End) -> Bytes {
    written(|out| {
        end.request(&Ask::get_root(), 1, None, out).unwrap();
    })
}

#[test]
fn who_is_told_speaks_as_rpyc_5() {
    let mut client = end().speaking(Dialect::Rpyc5);
    assert_eq!(get_root(&mut client), GETROOT_5);
    let Ok(Incoming::Answer {
        result: Ok(Item::Theirs(root)),
        ..
    }) = heard(&mut client, ROOT_5)
    else {
        panic!("not the root")
    };
    assert_eq!(root.name(), "__main__.S");
    client.release(&root, 1);
    let del = written(|out| assert!(client.poll_release(out)));
    assert_eq!(del[..3], [0x12, 0x51, 0x51]);
    let close = written(|out| client.close(out));
    assert_eq!(close[..3], [0x12, 0x51, 0x52]);
}

#[test]
fn who_listens_first_answers_as_it_is_spoken_to() {
    for (asked, [reply, exception]) in [
        (
            GETROOT_5,
            [&b"\x12\x52\x50\x11\x51\x03"[..], b"\x12\x53\x50\x13"],
        ),
        (
            GETROOT_6,
            [&b"\x02\x11\x50\x11\x51\x03"[..], b"\x03\x11\x50\x13"],
        ),
    ] {
        let mut server = end();
        let Ok(Incoming::Request {
            seq,
            request: Request::GetRoot,
        }) = heard(&mut server, asked)
        else {
            panic!("not GETROOT")
        };
        assert_eq!(
            written(|out| server.reply(&seq, &true, out).unwrap()),
            reply
        );
        let raised = Exception::value_error("x");
        let sent = written(|out| server.exception(&seq, &raised, out));
        assert_eq!(sent[..4], *exception);
        // And asks in the same way.
        assert_eq!(get_root(&mut server)[..2], asked[..2]);
    }
    assert!(matches!(heard(&mut end(), CLOSE_5), Ok(Incoming::Close)));
}

#[test]
fn nobody_changes_in_between() {
    // What a server of 5 says to a client that speaks 6: it closes.
    let mut client = end();
    assert_eq!(get_root(&mut client), GETROOT_6);
    assert_eq!(
        heard(&mut client, CLOSE_5).unwrap_err(),
        ProtocolError::OlderDialect
    );
    let mut client = end().speaking(Dialect::Rpyc5);
    assert_eq!(
        heard(&mut client, GETROOT_6).unwrap_err(),
        ProtocolError::NewerDialect
    );
    let mut server = end();
    assert!(heard(&mut server, GETROOT_6).is_ok());
    assert_eq!(
        heard(&mut server, GETROOT_5).unwrap_err(),
        ProtocolError::OlderDialect
    );
}

#[test]
fn two_ends_talk_in_either() {
    for dialect in [Dialect::Rpyc5, Dialect::Rpyc6] {
        let (mut client, mut server) = (end().speaking(dialect), end());
        for number in 0..300_u64 {
            let asked = written(|out| {
                let text = Str::from_static("text");
                assert_eq!(
                    client.request(&Ask::ping((number, text)), number, None, out),
                    Ok(number)
                );
            });
            let Ok(Incoming::Request {
                seq,
                request: Request::Ping { data },
            }) = server.handle_frame(asked)
            else {
                panic!("not a ping")
            };
            let answered = written(|out| server.reply(&seq, &data, out).unwrap());
            let answer = client.handle_frame(answered);
            assert!(
                matches!(&answer, Ok(Incoming::Answer { waiter, result: Ok(result), .. }) if *waiter == number && *result == data),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for message in [GETROOT_5, ROOT_5] {
        for end_at in 1..message.len() {
            let cut = heard(&mut end(), &message[..end_at]);
            assert!(
                matches!(
                    cut,
                    Err(_) | Ok(Incoming::BadRequest { .. } | Incoming::Late)
                ),
                "{end_at}: {cut:?}"
            );
        }
    }
}
