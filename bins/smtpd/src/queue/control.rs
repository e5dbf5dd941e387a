//! The control socket: how `mailq` and others talk to the server that holds the queue.
//!
//! A client connects to `QUEUE/control`, sends one request as a line of JSON and
//! reads lines of JSON up to the end of the stream. The last line is `"done"`, or
//! `{"error": text}`; a stream that ends otherwise was cut off. Lines before it:
//! `{"message": {"envelope": {...}}}` for each message, with `"waits_for": "..."` for one that
//! waits for more than its time, `{"text": "..."}` for its text, octet by octet as characters.
//!
//! | request | does |
//! |---|---|
//! | `"list"` | every envelope, oldest first |
//! | `{"show": ID}` | the envelope and the text |
//! | `{"hold": ID}`, `{"release": ID}`, `{"remove": ID}` | that |
//! | `"run"` | makes every waiting message due |
//! | `{"runone": ID}` | makes that one due |
//! | `{"runsome": [CONDITION...]}` | those that the conditions select |

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{Envelope, Hold, Octets, Queue, QueueError};

/// A request is a line of at most so many octets.
const MAX_REQUEST_OCTETS: u64 = 4096;
/// A line of an answer has fewer octets: it may be the envelope of a message with a copy for each
/// of half a million recipients.
const MAX_LINE_OCTETS: u64 = 256 * 1024 * 1024;
/// A client that does not ask for so long is left alone, and a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that does not go on reading for so long: a person may be looking at the first page.
const READER_PATIENCE: Duration = Duration::from_secs(3600);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// Every envelope.
    List,
    /// One message with its text.
    Show(String),
    /// Hold a message.
    Hold(String),
    /// Let a held or quarantined message go.
    Release(String),
    /// Throw a message away.
    Remove(String),
    /// Try every waiting message now.
    Run,
    /// Try this one now.
    RunOne(String),
    /// Try those that the conditions select.
    RunSome(Vec<super::Condition>),
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A message.
    Message {
        /// Its envelope.
        envelope: Box<Envelope>,
        /// What it waits for, where that is not its time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waits_for: Option<String>,
    },
    /// A message's text.
    Text(Octets),
    /// It could not be done.
    Error(String),
    /// It was done.
    Done,
}

/// Where the server of this queue listens.
#[must_use]
pub fn socket_of(folder: &Path) -> PathBuf {
    folder.join("control")
}

/// Carries a request out; the lines of the answer go into the channel. A reader that
/// goes away ends the answer.
pub async fn carry_out(queue: &Arc<Queue>, request: Request, lines: mpsc::Sender<Line>) {
    let result = match &request {
        Request::List => {
            for id in queue.ids() {
                // One that was delivered in between is no longer there.
                if let Ok(envelope) = queue.envelope(&id)
                    && send_message(queue, envelope, &lines).await.is_err()
                {
                    return;
                }
            }
            Ok(())
        }
        Request::Show(id) => match show(queue, id) {
            Ok((envelope, text)) => {
                let _ = send_message(queue, envelope, &lines).await;
                let _ = lines.send(Line::Text(Octets(text))).await;
                Ok(())
            }
            Err(error) => Err(Arc::new(error)),
        },
        Request::Hold(id) => {
            let (queue, id) = (Arc::clone(queue), id.clone());
            to_the_end(async move { queue.set_hold(&id, Some(Hold::Held)).await }).await
        }
        Request::Release(id) => {
            let (queue, id) = (Arc::clone(queue), id.clone());
            to_the_end(async move { queue.set_hold(&id, None).await }).await
        }
        Request::Remove(id) => {
            let (queue, id) = (Arc::clone(queue), id.clone());
            to_the_end(async move { queue.remove(&id).await }).await
        }
        Request::Run => {
            queue.run_now();
            Ok(())
        }
        Request::RunOne(id) => queue.run_one(id).map_err(Arc::new),
        Request::RunSome(conditions) => {
            queue.run_some(conditions);
            Ok(())
        }
    };
    let last = match result {
        Ok(()) => Line::Done,
        Err(error) => Line::Error(error.to_string()),
    };
    let _ = lines.send(last).await;
}

async fn send_message(
    queue: &Queue,
    envelope: Envelope,
    lines: &mpsc::Sender<Line>,
) -> Result<(), mpsc::error::SendError<Line>> {
    let waits_for = queue.waits_for(&envelope.id).map(str::to_owned);
    let envelope = Box::new(envelope);
    lines
        .send(Line::Message {
            envelope,
            waits_for,
        })
        .await
}

/// Carries a change to its end, be the client there or not: the message is busy until then.
async fn to_the_end(
    change: impl Future<Output = Result<(), Arc<QueueError>>> + Send + 'static,
) -> Result<(), Arc<QueueError>> {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|_| Err(Arc::new(QueueError::Closed)))
}

/// At most so many octets of a text are shown.
const MAX_SHOWN_OCTETS: u64 = 1024 * 1024;

fn show(queue: &Queue, id: &str) -> Result<(Envelope, Vec<u8>), QueueError> {
    let envelope = queue.envelope(id)?;
    let mut text = Vec::new();
    let reader = queue.text(&envelope)?.into_reader();
    match reader.take(MAX_SHOWN_OCTETS).read_to_end(&mut text) {
        // What is left of one that was cut short is shown.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        read => {
            let failed = QueueError::io(PathBuf::from(id), "read");
            read.map_err(failed)?;
        }
    }
    Ok((envelope, text))
}

/// Serves the control socket until the task is dropped.
///
/// # Errors
/// When the socket can't be made.
pub fn serve(queue: Arc<Queue>, folder: &Path) -> io::Result<tokio::task::JoinHandle<()>> {
    let path = socket_of(folder);
    // The queue's store is locked by this process, so a socket here is a dead server's.
    let _ = std::fs::remove_file(&path);
    // From the start nobody else's: a confined process can't change the mode afterwards.
    let before = umask(Mode::from_raw_mode(0o077));
    let listener = UnixListener::bind(&path);
    umask(before);
    let listener = listener?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let queue = Arc::clone(&queue);
                    tokio::spawn(async move {
                        let _ = talk(&queue, stream).await;
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }))
}

async fn talk(queue: &Arc<Queue>, stream: tokio::net::UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(MAX_REQUEST_OCTETS));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let (sender, mut lines) = mpsc::channel(16);
    let answer = async {
        match serde_json::from_str(&line) {
            Ok(request) => carry_out(queue, request, sender).await,
            Err(error) => {
                let _ = sender
                    .send(Line::Error(format!("bad request: {error}")))
                    .await;
            }
        }
    };
    // A client that reads no more has no use for the rest; what it asked for is still done.
    let write = async move {
        while let Some(line) = lines.recv().await {
            let line = json_line(&line)?;
            let writing = writer.write_all(line.as_bytes());
            tokio::time::timeout(READER_PATIENCE, writing).await??;
        }
        writer.shutdown().await
    };
    let ((), written) = tokio::join!(answer, write);
    written
}

fn json_line(line: &Line) -> io::Result<String> {
    let mut text = serde_json::to_string(line).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

/// Asks the server of this queue; `Ok(None)`: no server runs.
///
/// # Errors
/// When the server can't be asked.
pub fn ask(folder: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let mut stream = match UnixStream::connect(socket_of(folder)) {
        Ok(stream) => stream,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(request).map_err(io::Error::other)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    Ok(Some(Answer::of(stream)))
}

/// The lines of an answer, one at a time as they are asked for: whoever looks at the queue may be
/// root, and the server may have been taken over. The last one is [`Line::Done`] or
/// [`Line::Error`]; a line that is longer than any, and an answer that ends before, are errors.
#[derive(Debug)]
pub struct Answer<R = UnixStream> {
    from: BufReader<R>,
    most_octets: u64,
    has_ended: bool,
}

impl<R: Read> Answer<R> {
    fn of(from: R) -> Self {
        Answer {
            from: BufReader::new(from),
            most_octets: MAX_LINE_OCTETS,
            has_ended: false,
        }
    }

    fn line(&mut self) -> io::Result<Line> {
        let mut text = Vec::new();
        let mut from = (&mut self.from).take(self.most_octets);
        from.read_until(b'\n', &mut text)?;
        if text.ends_with(b"\n") {
            return serde_json::from_slice(&text).map_err(io::Error::other);
        }
        Err(match from.limit() {
            0 => io::Error::new(io::ErrorKind::InvalidData, "the server says too much"),
            _ => io::Error::new(io::ErrorKind::UnexpectedEof, "the server broke off"),
        })
    }
}

impl<R: Read> Iterator for Answer<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let line = self.line();
        self.has_ended = matches!(line, Ok(Line::Done | Line::Error(_)) | Err(_));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of an answer, where lines have at most so many octets.
    fn read(text: impl Read, most_octets: u64) -> (usize, String) {
        let answer = Answer {
            most_octets,
            ..Answer::of(text)
        };
        let lines: Vec<_> = answer.take(100).collect();
        let last = match lines.last() {
            Some(Ok(line)) => format!("{line:?}"),
            Some(Err(error)) => error.to_string(),
            None => String::new(),
        };
        (lines.len(), last)
    }

    #[test]
    fn an_answer_ends_with_its_last_line() {
        let text = b"{\"text\":\"a\"}\n\"done\"\n\"done\"\n";
        assert_eq!(read(&text[..], 100), (2, "Done".into()));
        let text = b"{\"error\":\"no\"}\n";
        assert_eq!(read(&text[..], 100), (1, "Error(\"no\")".into()));
        for cut in [&b""[..], b"\"do", b"\"done\""] {
            assert_eq!(read(cut, 100), (1, "the server broke off".into()));
        }
        assert_eq!(read(&b"\"done\"\n"[..], 7), (1, "Done".into()));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let endless = io::repeat(b'x');
        let too_much = (1, "the server says too much".into());
        assert_eq!(read(endless, 1000), too_much);
    }
}
