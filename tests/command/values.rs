//! Values there and back, over every kind of stream.

use super::*;

#[test]
fn values_go_to_python_and_back() {
    let server = Peer::start(Script::File("server.py"), &[]);
    let endpoint = format!("tcp://127.0.0.1:{}", server.ready());
    for (literal, shown) in [
        ("None", "None"),
        ("True", "True"),
        ("7", "7"),
        ("-2.5", "-2.5"),
        ("-3", "-3"),
        ("1e999", "float('inf')"),
        ("text", "'text'"),
        ("\"it's\"", "\"it's\""),
        ("b'\\x00raw'", "b'\\x00raw'"),
        ("(1, (2,), ())", "(1, (2,), ())"),
        ("...", "Ellipsis"),
        ("2j", "2j"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("[1]", "'[1]'"),
    ] {
        assert_eq!(
            printed(&["call", &endpoint, "echo", literal]),
            shown,
            "{literal}"
        );
    }
    for (literal, shown) in [
        ("-.5", "-0.5"),
        ("-0x10", "-16"),
        ("-0b_11", "-3"),
        ("-1_000", "-1000"),
        ("-1e5", "-100000.0"),
        ("-5.", "-5.0"),
        ("-.5E-1", "-0.05"),
        ("-2j", "(-0-2j)"),
        (
            "-123456789012345678901234567890",
            "-123456789012345678901234567890",
        ),
    ] {
        for args in [
            &["call", &endpoint, "echo", literal, "--timeout", "20s"][..],
            &["call", &endpoint, "echo", "--", literal],
            &[
                "call",
                &endpoint,
                "echo",
                "--kw",
                &format!("value={literal}"),
            ],
        ] {
            assert_eq!(printed(args), shown, "{args:?}");
        }
    }
    refused(2, &["call", &endpoint, "echo", "-inf"]);
    assert_eq!(printed(&["call", &endpoint, "add", "1", "2"]), "3");
    assert_eq!(printed(&["call", &endpoint, "upper", "--", "-a-"]), "'-A-'");
    assert_eq!(
        printed(&[
            "call", &endpoint, "kwargs", "1", "--kw", "b=(2,)", "--kw", "a=x=y"
        ]),
        "((1,), (('a', 'x=y'), ('b', (2,))))"
    );
    assert_eq!(
        printed(&["call", &endpoint, "get_list"]),
        "<reference to builtins.list>"
    );
    assert_eq!(
        printed(&["call", &endpoint, "get_list", "--json"]),
        r#"{"reference":"builtins.list"}"#
    );
}

#[test]
fn json_is_printed_for_other_programs() {
    let server = Served::on_tcp();
    let echoed = |literal| printed(&["call", server.endpoint(), "echo", literal, "--json"]);
    assert_eq!(
        echoed(r#"(1, 2.5, None, True, "é", b"raw")"#),
        r#"[1,2.5,null,true,"é","cmF3"]"#
    );
    assert_eq!(
        echoed("123456789012345678901234567890"),
        r#""123456789012345678901234567890""#
    );
}

#[test]
fn calls_work_over_every_kind_of_stream() {
    let path = SocketPath::new("kinds");
    let server = Served::start(
        &["tcp://127.0.0.1:0", "tcp://[::1]:0", &path.endpoint()],
        &[],
    );
    let child = format!("exec:{PROGRAM} serve --listen stdio:");
    for endpoint in server.endpoints.iter().chain([&child]) {
        assert_eq!(
            printed(&["call", endpoint, "add", "1", "2"]),
            "3",
            "{endpoint}"
        );
        assert_eq!(
            printed(&["call", endpoint, "upper", "--kw", "text=straße"]),
            "'STRASSE'"
        );
        assert_eq!(printed(&["call", endpoint, "sleep", "0.01"]), "0.01");
        let pings = printed(&["ping", endpoint, "--count", "3"]);
        assert!(pings.starts_with("3 round trips: min "), "{pings}");
        assert!(
            pings.contains(", median ") && pings.contains(", max "),
            "{pings}"
        );
    }
}

/// A child whose standard output is a pipe to its parent must not keep the parent from looking into that pipe.
#[test]
fn a_subprocess_never_holds_its_parent_up() {
    let child = format!("exec:{PROGRAM} serve --listen stdio:");
    for count in 0..30 {
        assert_eq!(
            printed(&["call", &child, "add", "1", &count.to_string()]),
            (count + 1).to_string()
        );
    }
}

#[test]
fn what_the_remote_raises_ends_with_1_and_its_traceback() {
    let python = Peer::start(Script::File("server.py"), &[]);
    let rust = Served::on_tcp();
    let of_python = refused(
        1,
        &[
            "call",
            &format!("tcp://127.0.0.1:{}", python.ready()),
            "fail",
            "no luck",
        ],
    );
    assert!(
        of_python.starts_with("Traceback (most recent call last):"),
        "{of_python}"
    );
    assert!(of_python.ends_with("ValueError: no luck\n"), "{of_python}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "fail", "no luck"]),
        "ValueError: no luck\n"
    );
    let message = "can only concatenate str (not \"int\") to str";
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "add", "a", "1"]),
        format!("TypeError: {message}\n")
    );
    let unknown = refused(1, &["call", rust.endpoint(), "no_such_name"]);
    assert!(unknown.starts_with("AttributeError: "), "{unknown}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "fail", "'\\x1b[31m'"]),
        "ValueError: \\u{1b}[31m\n"
    );
    let blob = refused(1, &["call", rust.endpoint(), "blob", "67108864"]);
    assert!(blob.starts_with("ValueError: "), "{blob}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "sleep", "-1"]),
        "ValueError: sleep length must be non-negative\n"
    );
}
