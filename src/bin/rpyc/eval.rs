//! `rpyc eval`: one Python expression at a classic server, from the shell.

use clap::Args;
use rpyc::{ClassicService, Netref, Object, classic::Copied};

use crate::{
    Failure, output,
    peer::{Form, Peer},
};

/// Evaluates a Python expression at a classic server and prints the result
///
/// It is printed as Python prints it there, in the words of `repr`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// The expression
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    #[command(flatten)]
    form: Form,
}

const HELP: &str = r#"With --json a list is an array, too, and a dict an array of pairs; what has no value is an object that says so.

Examples:
  rpyc eval tcp://127.0.0.1:18812 '1 + 1'
  rpyc eval unix:/run/python.sock '__import__("os").getpid()'
  rpyc eval 'exec:rpyc_classic.py -q -m stdio' '__import__("sys").version_info[:3]' --json"#;

/// Evaluates, as `Connection::eval` does, and shows the result where it is.
const SHOW: &str = "lambda text: repr(eval(text, globals()))";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let expression = &*arguments.expression;
    if arguments.form.json {
        let ask = async |connection: &rpyc::Connection| {
            let Copied(object) = connection.eval(expression).await?;
            Ok(object)
        };
        let print = |object: Object| arguments.form.print(&object);
        return arguments.peer.ask(ClassicService, ask, print).await;
    }
    let ask = async |connection: &rpyc::Connection| {
        let show: Netref = connection.eval(SHOW).await?;
        show.with_timeout(None).call((expression,)).await
    };
    let print = |text: String| Ok(output::line(output::clean(&text))?);
    arguments.peer.ask(ClassicService, ask, print).await
}
