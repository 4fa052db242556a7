//! `rpyc call`: one call of a function, from the shell.

use std::ffi::OsString;

use clap::Args;
use rpyc::{Object, Value, VoidService};

use crate::{
    Failure, literal,
    peer::{Form, Peer},
};

/// Calls a function of a service and prints its result
///
/// Arguments are Python's literals, and what is no literal is text: `1`, `-2.5`, `True`, `None`, `"text"`, `b"raw"`, `(1, 2)`,
/// `text`. The result is printed as Python prints it.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// The name of the function
    name: String,
    /// An argument: a Python literal, else text
    #[arg(value_name = "ARG")]
    args: Vec<String>,
    /// An argument by name
    #[arg(long, value_name = "NAME=VALUE", value_parser = keyword)]
    kw: Vec<(String, Value)>,
    #[command(flatten)]
    form: Form,
}

const HELP: &str = r#"Examples:
  rpyc call tcp://127.0.0.1:18861 add 1 2
  rpyc call tcp://127.0.0.1:18861 add '(1, "two")' '(b"three",)'
  rpyc call 'tls://service.example:18821?ca=ca.crt&cert=me.crt&key=me.key' add 1 2
  rpyc call unix:/run/service.sock upper --kw text=hello --timeout 5s
  rpyc call tcp://host:18861 blob 1000000 --layer zlib:9 --layer monitor
  rpyc call 'exec:ssh host rpyc serve --listen stdio:' add 1 2 --json

What begins with a minus sign and is no number goes behind `--`:
  rpyc call tcp://127.0.0.1:18861 upper -- -text-"#;

/// The words of a command line, where negative numbers among those of this command have a blank before them.
///
/// To the parser of the command line they are no options then, and to that of literals the blank is nothing. Its own
/// `allow_negative_numbers` knows too few forms of them, and `allow_hyphen_values` takes options for values.
pub(crate) fn shielded(words: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_call = false;
    words.map(move |word| {
        is_call |= word == "call";
        match word.to_str() {
            Some(text) if is_call && is_negative_number(text) => format!(" {text}").into(),
            _ => word,
        }
    })
}

/// Whether `text` is a number with a minus sign before it: to the parser of a command line it looks like an option.
fn is_negative_number(text: &str) -> bool {
    text.starts_with('-') && !matches!(literal::parse(text), Value::Str(_))
}

fn keyword(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), literal::parse(value))),
        _ => Err("expected NAME=VALUE".into()),
    }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let args: Vec<Value> = arguments
        .args
        .iter()
        .map(|arg| literal::parse(arg))
        .collect();
    let kwargs: Vec<(&str, &Value)> = arguments
        .kw
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let call = async |connection: &rpyc::Connection| {
        connection.call_kw(&arguments.name, &args, &kwargs).await
    };
    let print = |object: Object| arguments.form.print(&object);
    arguments.peer.ask(VoidService, call, print).await
}
