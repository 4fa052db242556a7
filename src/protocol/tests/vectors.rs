//! The messages of `tests/vectors/messages.json`, which the real rpyc wrote, in both directions.

use serde_json::Value as Json;

use super::*;
use crate::brine::Str;

struct Message {
    name: String,
    kind: u64,
    seq: u64,
    body: Json,
    payload: Bytes,
}

fn messages() -> Vec<Message> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/messages.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: Json = serde_json::from_str(&text).unwrap();
    let messages = file["messages"].as_array().unwrap().iter();
    messages
        // One message is recorded as a frame only, because it is compressed.
        .filter(|message| !message["payload_hex"].is_null())
        .map(|message| Message {
            name: message["name"].as_str().unwrap().to_owned(),
            kind: message["msg"].as_u64().unwrap(),
            seq: message["seq"].as_u64().unwrap(),
            body: message["body"].clone(),
            payload: unhex(message["payload_hex"].as_str().unwrap()),
        })
        .collect()
}

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => Value::Str(text.as_str().into()),
        Json::Array(items) => Value::Tuple(items.iter().map(value).collect()),
        Json::Object(_) => {
            assert_eq!(json["singleton"], "NotImplemented");
            Value::NotImplemented
        }
    }
}

fn thing(id: &Json) -> Thing {
    Thing::of_class(id[0].as_str().unwrap(), id[1].as_i64().unwrap())
}

/// What a box means to the end that wrote it.
fn sent(boxed: &Json, end: &mut End) -> Item<Thing> {
    let content = &boxed[1];
    match boxed[0].as_u64().unwrap() {
        1 => Item::Value(value(content)),
        2 => {
            let items = content.as_array().unwrap().iter();
            Item::Tuple(items.map(|item| sent(item, end)).collect())
        }
        3 => Item::Theirs(IdPack::from_value(&value(content)).unwrap()),
        _ => {
            end.exports.set_next(content[2].as_i64().unwrap());
            Item::Ours(thing(content))
        }
    }
}

/// What a box means to the end that reads it.
fn received(boxed: &Json, end: &mut End) -> Item<Thing> {
    let content = &boxed[1];
    match boxed[0].as_u64().unwrap() {
        1 => Item::Value(value(content)),
        2 => {
            let items = content.as_array().unwrap().iter();
            Item::Tuple(items.map(|item| received(item, end)).collect())
        }
        3 => {
            let thing = thing(content);
            end.exports.set_next(content[2].as_i64().unwrap());
            end.exports.give(&thing).unwrap();
            Item::Ours(thing)
        }
        _ => Item::Theirs(IdPack::from_value(&value(content)).unwrap()),
    }
}

fn exception(body: &Json) -> Exception {
    if *body == 1 {
        return Exception::stop_iteration();
    }
    let text = |json: &Json| Str::from(json.as_str().unwrap());
    let args = value(&body[1]).as_tuple().unwrap().to_vec();
    let attrs = body[2].as_array().unwrap().iter();
    attrs.fold(
        Exception::new(text(&body[0][0]), text(&body[0][1]), args).with_traceback(text(&body[3])),
        |made, attr| made.attr(text(&attr[0]), value(&attr[1])),
    )
}

fn advance_to(end: &mut End, seq: u64) {
    let mut out = BytesMut::new();
    for n in end.pending.next_seq()..seq {
        assert_eq!(end.request(&Ask::ping(()), n, None, &mut out), Ok(n));
        out.clear();
    }
}

#[test]
fn every_message_is_written_byte_for_byte() {
    let mut count = 0;
    for message in messages() {
        if message.payload[0] == 0 {
            continue;
        }
        let mut end = end();
        let seq = Seq(Value::Int(message.seq.try_into().unwrap()));
        let ours = match message.kind {
            1 => {
                advance_to(&mut end, message.seq);
                let handler = Handler::from_number(message.body[0].as_i64().unwrap()).unwrap();
                let arguments = sent(&message.body[1], &mut end);
                written(|out| match (handler, arguments) {
                    (Handler::Close, _) => end.close(out),
                    (_, Item::Value(Value::Tuple(values))) => {
                        let ask = Ask::new(handler, values);
                        assert_eq!(end.request(&ask, 0, None, out), Ok(message.seq));
                    }
                    (_, Item::Tuple(items)) => {
                        let ask = Ask::new(handler, items);
                        assert_eq!(end.request(&ask, 0, None, out), Ok(message.seq));
                    }
                    _ => panic!("arguments are a tuple"),
                })
            }
            2 => {
                let result = sent(&message.body, &mut end);
                written(|out| end.reply(&seq, &result, out).unwrap())
            }
            _ => written(|out| end.exception(&seq, &exception(&message.body), out)),
        };
        assert_eq!(ours, message.payload, "{}", message.name);
        count += 1;
    }
    assert_eq!(count, 43);
}

#[test]
fn every_message_is_read() {
    for message in messages() {
        let mut end = end();
        advance_to(&mut end, message.seq + 1);
        let name = &message.name;
        if message.payload[0] == 0 {
            let refused = end.handle_frame(message.payload);
            assert_eq!(refused.unwrap_err(), ProtocolError::BoundThreads, "{name}");
            continue;
        }
        match message.kind {
            1 => read_request(&mut end, message),
            2 => {
                let expected = received(&message.body, &mut end);
                let Ok(Incoming::Answer { seq, result, .. }) = end.handle_frame(message.payload)
                else {
                    panic!("{name}")
                };
                assert_eq!((seq, result), (message.seq, Ok(expected)), "{name}");
            }
            _ => {
                let expected = match exception(&message.body) {
                    stop if stop.is_builtin("StopIteration") => CallError::StopIteration,
                    other => CallError::Remote(other.into()),
                };
                let Ok(Incoming::Answer { result, .. }) = end.handle_frame(message.payload) else {
                    panic!("{name}")
                };
                assert_eq!(result, Err(expected), "{name}");
            }
        }
    }
}

fn read_request(end: &mut End, message: Message) {
    let name = message.name;
    let arguments = received(&message.body[1], end);
    let handler = Handler::from_number(message.body[0].as_i64().unwrap()).unwrap();
    // INSPECT names one of our objects by value.
    let inspected = (handler == Handler::Inspect).then(|| {
        let boxed: Json = vec![Json::from(3), message.body[1][1][0].clone()].into();
        received(&boxed, end)
    });
    let (seq, request) = match end.handle_frame(message.payload).unwrap() {
        Incoming::Request { seq, request } => (seq, request),
        Incoming::Close if handler == Handler::Close => return,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(seq.value().as_int(), message.seq.try_into().ok());

    let mut arguments = items_of(arguments).into_iter();
    let mut next = || arguments.next().unwrap_or_else(|| panic!("{name}"));
    let expected = match handler {
        Handler::Ping => Request::Ping { data: next() },
        Handler::GetRoot => Request::GetRoot,
        Handler::GetAttr => Request::GetAttr {
            object: next(),
            name: text(next()),
        },
        Handler::DelAttr => Request::DelAttr {
            object: next(),
            name: text(next()),
        },
        Handler::SetAttr => Request::SetAttr {
            object: next(),
            name: text(next()),
            value: next(),
        },
        Handler::Call => Request::Call {
            object: next(),
            args: items_of(next()),
            kwargs: pairs_of(next()),
        },
        Handler::CallAttr => Request::CallAttr {
            object: next(),
            name: text(next()),
            args: items_of(next()),
            kwargs: pairs_of(next()),
        },
        Handler::Repr => Request::Repr { object: next() },
        Handler::Str => Request::Str { object: next() },
        Handler::Hash => Request::Hash { object: next() },
        Handler::Dir => Request::Dir { object: next() },
        Handler::Cmp => Request::Cmp {
            object: next(),
            other: next(),
            op: text(next()),
        },
        Handler::Pickle => Request::Pickle {
            object: next(),
            protocol: next(),
        },
        Handler::Del => Request::Del {
            freed: match next() {
                Item::Ours(object) => Some(object),
                _ => panic!("a reference"),
            },
        },
        Handler::Inspect => Request::Inspect {
            object: match inspected {
                Some(Item::Ours(object)) => object,
                _ => panic!("a reference"),
            },
        },
        Handler::BuffIter => Request::BuffIter {
            object: next(),
            count: next().into_value().unwrap().as_int().map(i64::unsigned_abs),
        },
        Handler::OldSlicing => Request::OldSlicing {
            object: next(),
            attempt: text(next()),
            fallback: text(next()),
            start: next(),
            stop: next(),
            args: items_of(next()),
        },
        Handler::CtxExit => Request::CtxExit {
            object: next(),
            exc: next(),
        },
        Handler::InstanceCheck => Request::InstanceCheck {
            class: next(),
            other: IdPack::from_value(&next().into_value().unwrap()).unwrap(),
        },
        Handler::Close => panic!("CLOSE is no request"),
    };
    assert_eq!(request, expected, "{name}");
}

fn items_of(item: Item<Thing>) -> Vec<Item<Thing>> {
    match item {
        Item::Value(Value::Tuple(values)) => values.into_iter().map(Item::Value).collect(),
        Item::Tuple(items) => items,
        other => panic!("not a tuple: {other:?}"),
    }
}

fn pairs_of(item: Item<Thing>) -> Vec<(Str, Item<Thing>)> {
    let pair = |pair| {
        let [name, value] = <[_; 2]>::try_from(items_of(pair)).unwrap();
        (text(name), value)
    };
    items_of(item).into_iter().map(pair).collect()
}

fn text(item: Item<Thing>) -> Str {
    match item {
        Item::Value(Value::Str(text)) => text,
        other => panic!("not text: {other:?}"),
    }
}

/// The short forms that a client uses write the same bytes as the long ones above.
#[test]
fn the_constructors_of_requests_write_what_python_writes() {
    let messages = messages();
    let payload = |name: &str| {
        let found = messages.iter().find(|message| message.name == name);
        found.unwrap_or_else(|| panic!("{name}")).payload.clone()
    };
    let root = IdPack::new("calc.CalcService", 93_893_187_942_176, 139_912_363_720_336).unwrap();
    let mut end = end();
    macro_rules! check {
        ($name:literal, $seq:literal, $ask:expr) => {
            advance_to(&mut end, $seq);
            let ours = written(|out| {
                end.request(&$ask, 0, None, out).unwrap();
            });
            assert_eq!(ours, payload($name), $name);
        };
    }
    check!("GETROOT request", 0, Ask::get_root());
    check!("INSPECT request", 1, Ask::inspect(&root));
    check!("GETATTR add", 2, Ask::get_attr(&root, "add"));
    let add = Ask::call_attr(&root, "add", (1, 2), ());
    check!("CALLATTR add(1,2)", 5, add);
    let kw = Ask::call_attr(&root, "kw", (1,), (("b", 5), ("z", "q")));
    check!("CALLATTR with kwargs b=5, z='q'", 6, kw);
    check!("PING", 11, Ask::ping("x"));
    check!("SETATTR", 12, Ask::set_attr(&root, "x", 1));
    check!("DELATTR", 13, Ask::del_attr(&root, "x"));
    let list = IdPack::new("builtins.list", 139_912_387_326_784, 139_912_318_928_256).unwrap();
    check!("REPR", 14, Ask::about(Handler::Repr, &list));
    check!("CMP __eq__ with a value", 18, Ask::cmp(&list, 5, "__eq__"));
    let iterator = IdPack::new(
        "builtins.list_iterator",
        139_912_387_326_368,
        139_912_318_771_952,
    )
    .unwrap();
    check!("BUFFITER 10", 19, Ask::buffiter(&iterator, Some(10)));
}

#[test]
fn a_released_reference_becomes_the_del_that_python_writes() {
    let messages = messages();
    let named = |name: &str| {
        messages
            .iter()
            .find(|message| message.name == name)
            .unwrap()
    };
    let mut end = end();
    advance_to(&mut end, 4);
    let reply = named("GETATTR reply: a method").payload.clone();
    let Ok(Incoming::Answer {
        result: Ok(Item::Theirs(id)),
        ..
    }) = end.handle_frame(reply)
    else {
        panic!("a reference")
    };
    end.release(&id, 1);
    let ours = written(|out| assert!(end.poll_release(out)));
    assert_eq!(ours, named("DEL count 1").payload);
    assert!(!end.poll_release(&mut BytesMut::new()));
    let reply = named("DEL reply").payload.clone();
    assert!(matches!(end.handle_frame(reply), Ok(Incoming::Late)));
}
