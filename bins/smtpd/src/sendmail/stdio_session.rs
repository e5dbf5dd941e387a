//! `-bs`: an SMTP session on standard input and output.
//!
//! The pure session speaks; what it asks is answered as sendmail's submission program does,
//! which leaves users and policy to the server. Lines may end in LF here, in commands and in
//! text: the other side is a process of this host.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use libmaps::address::{Address, AddressError, ReversePath};
use libmaps::reply::{Reply, Status};
use libmaps::site::model::options::{OptionValue, Privacy};
use libmaps::sysexits::SysExit;

use super::args::{Dot, Refusal, Stream};
use super::collect::{Bits, Collected, Collector};
use super::fault::Fault;
use super::recipients::HeaderText;
use super::scene::Scene;
use super::submit;
use crate::clock::{Civil, now_unix};
use crate::consult::reply;
use crate::drop::file::DropWriter;
use crate::drop::submission::{Protocol, Sender, SetBy, Spoken, Submission, Wanted};
use crate::queue::Octets;
use crate::session::{
    Action, Ahead, Answer, AuthDemand, BodyKind, Bounces, Channel, Chunk, Fate, Hello, MessageEnd,
    Names, Offer, Offers, Path, Peer, Question, Rules, Session, StartTls, Welcome,
};

/// What `submit.mc` sets for every session of a submission program.
const PRIVACY: &str = "goaway noetrn";
/// Longest command line that is read; the session refuses shorter ones already.
const MAX_LINE_OCTETS: u64 = 16 * 1024;

/// Speaks SMTP until QUIT or the end of input.
///
/// # Errors
/// When the other side breaks off.
pub(super) fn run(
    scene: &Scene,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<SysExit, Refusal> {
    // What is said on standard output is SMTP.
    let broken = |e: io::Error| Refusal {
        on: Stream::Error,
        ..Refusal::new(SysExit::IoErr, format!("sendmail: session broken off: {e}"))
    };
    let peer = Arc::new(Peer::local(format!("{}@localhost", scene.caller.name())));
    let (session, first) = Session::start(peer, Arc::new(rules(scene)), Channel::Clear);
    let mut talk = Talk {
        scene,
        session,
        input,
        output,
    };
    let mut next = Some(first);
    while let Some(action) = next.take() {
        next = talk.act(action).map_err(broken)?;
    }
    Ok(SysExit::Ok)
}

fn rules(scene: &Scene) -> Rules {
    let limits = &scene.site.options.limits;
    let count = |limit: Option<u64>| usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX);
    Rules {
        hostname: scene.site.host_name.clone(),
        privacy: Privacy::read(PRIVACY).unwrap_or_default(),
        offers: Offers::of(&[
            Offer::Pipelining,
            Offer::Dsn,
            Offer::DeliverBy,
            Offer::SmtpUtf8,
        ]),
        auth: AuthDemand::Optional,
        max_message_octets: limits.max_message_octets.0.unwrap_or(0),
        max_recipients: count(limits.max_recipients.0),
        bad_rcpt_throttle: 0,
        max_noop: 0,
        names: Names::Hosts,
        bounces: Bounces::Hard,
        auth_strikes: 3,
        bad_command: None,
        deliver_by_min_seconds: 0,
    }
}

struct Talk<'a> {
    scene: &'a Scene,
    session: Session,
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl Talk<'_> {
    fn act(&mut self, action: Action) -> io::Result<Option<Action>> {
        Ok(Some(match action {
            Action::Reply(reply) => {
                self.put(&reply)?;
                return self.command();
            }
            Action::Consult(question) => {
                let answer = self.answer(question);
                self.session.on_answer(answer)
            }
            Action::After(wait, action) => {
                std::thread::sleep(wait.min(Duration::from_secs(1)));
                *action
            }
            Action::ReadBody(reply) => {
                self.put(&reply)?;
                let end = self.message()?;
                self.session.on_answer(Answer::Message(end))
            }
            Action::Close(reply) => {
                self.put(&reply)?;
                return Ok(None);
            }
            // CHUNKING is not offered: a chunk is read only to be thrown away.
            Action::ReadChunk {
                octets,
                chunk: Chunk::Refused(reply),
            } => {
                io::copy(&mut (&mut *self.input).take(octets), &mut io::sink())?;
                self.session.on_answer(Answer::Refused(reply))
            }
            // Nor is STARTTLS, so the session asks for neither.
            Action::Upgrade(_) | Action::ReadChunk { .. } => return Ok(None),
        }))
    }

    fn put(&mut self, reply: &Reply) -> io::Result<()> {
        if reply.code == 0 {
            return Ok(());
        }
        for line in reply.to_string().lines() {
            write!(self.output, "{line}\r\n")?;
        }
        self.output.flush()
    }

    fn command(&mut self) -> io::Result<Option<Action>> {
        let mut line = Vec::new();
        let mut limited = (&mut *self.input).take(MAX_LINE_OCTETS);
        limited.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            // Too long, or the end of input within a line.
            self.skip_line()?;
            return Ok(Some(self.session.on_overlong_line()));
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        // A script may send its whole dialogue at once; there is nobody to be smuggled past.
        Ok(Some(self.session.on_line(text, Ahead::Nothing)))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let (used, done) = {
                let buffer = self.input.fill_buf()?;
                match buffer.iter().position(|c| *c == b'\n') {
                    Some(at) => (at + 1, true),
                    None => (buffer.len(), buffer.is_empty()),
                }
            };
            self.input.consume(used);
            if done {
                return Ok(());
            }
        }
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Client => Answer::Welcome(Box::new(self.welcome())),
            Question::Sender(path, _) => accept(ReversePath::parse(path.asked()).map(drop)),
            Question::Recipient(path) => self.recipient(&path),
            Question::Login { .. } | Question::Response(_) | Question::AbortLogin => {
                Answer::LoginFailed
            }
            Question::Verify(_) | Question::Expand(_) | Question::RunQueue(_) => Answer::Say(
                reply(502, (5, 7, 0), "Sorry, we do not allow this operation"),
            ),
        }
    }

    fn recipient(&self, path: &Path) -> Answer {
        if let Err(error) = Address::parse(path.asked()) {
            return accept(Err(error));
        }
        match Fault::of(&self.scene.site, path.bare()) {
            Some(fault) => Answer::Refused(reply(553, (5, 1, 3), fault.text)),
            None => Answer::Accepted(Fate::Deliver),
        }
    }

    fn welcome(&self) -> Welcome {
        let date = Civil::local(now_unix()).rfc5322();
        let version = env!("CARGO_PKG_VERSION");
        Welcome {
            greeting: format!(
                "{} ESMTP smtpd {version}; {date}",
                self.scene.site.host_name
            ),
            offers: rules(self.scene).offers,
            mechanisms: Vec::new(),
            auth: AuthDemand::Optional,
            start_tls: StartTls::Unavailable,
            fate: Fate::Deliver,
            refusal: None,
        }
    }

    /// Reads a message into the drop folder.
    fn message(&mut self) -> io::Result<MessageEnd> {
        let mut writer = DropWriter::create(&self.scene.folder);
        let max = self.scene.site.options.limits.max_message_octets.0;
        let max_header = submit::max_header(&self.scene.site);
        let (mut header, mut header_read) = (HeaderText::default(), Ok(()));
        let mut too_large = false;
        let declared = self.session.transaction().and_then(|t| t.params.body);
        let mut collector = Collector::new(Dot::Ends, Bits::of(&self.scene.site, declared));
        let mut body = declared;
        let mut text = Vec::new();
        loop {
            text.clear();
            let mut line = Vec::new();
            let mut limited = (&mut *self.input).take(MAX_LINE_OCTETS);
            if limited.read_until(b'\n', &mut line)? == 0 {
                // No message without its end: the other side has gone.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let collected = collector.push(&line, &mut text);
            if !text.is_ascii() {
                body.get_or_insert(BodyKind::EightBitMime);
            }
            header_read = header_read.and_then(|()| header.push(&text, max_header));
            if let Ok(open) = &mut writer {
                too_large |= max.is_some_and(|max| open.octets() + text.len() as u64 > max);
                let unfit = too_large || header_read.is_err();
                if let (false, Err(error)) = (unfit, open.push(&text)) {
                    writer = Err(error);
                }
            }
            if collected == Collected::End {
                break;
            }
        }
        if too_large {
            return Ok(MessageEnd::TooLarge);
        }
        if header_read
            .and_then(|()| header.finish(max_header))
            .is_err()
        {
            let text = format!("Headers too large ({max_header} max)");
            return Ok(MessageEnd::Refused(reply(552, (5, 6, 0), text)));
        }
        let submission = self.submission(body);
        let dropped = writer.and_then(|writer| match submission {
            Some(submission) => writer.finish(&submission),
            None => Err(io::Error::other("no envelope")),
        });
        Ok(match dropped {
            Ok(id) => MessageEnd::Stored(id.as_str().into()),
            Err(error) => {
                let text = submit::not_dropped(self.scene, &error).text;
                let text = text.lines().next().unwrap_or_default();
                MessageEnd::Refused(Reply::new(451, Some(Status::new(4, 3, 0)), text))
            }
        })
    }

    fn submission(&self, body: Option<BodyKind>) -> Option<Submission> {
        let transaction = self.session.transaction()?;
        let recipients = transaction.recipients.iter().map(|r| Wanted {
            address: Octets::from(r.path.bare()),
            notify: r.params.notify,
            orcpt: r.params.orcpt.clone(),
        });
        let params = &transaction.params;
        let session = self.session.helo().map(|(hello, name)| Spoken {
            helo: name.into(),
            protocol: match hello {
                Hello::Plain => Protocol::Smtp,
                Hello::Extended => Protocol::Esmtp,
            },
        });
        let submission = Submission {
            sender: Sender::Set {
                address: Octets::from(transaction.sender.bare()),
                by: SetBy::Mail,
            },
            body,
            ret: params.ret,
            envid: params.envid.clone(),
            by: params.by,
            smtputf8: params.smtputf8.is_some(),
            session,
            ..Submission::to(recipients.collect())
        };
        submission.check().is_ok().then_some(submission)
    }
}

fn accept(parsed: Result<(), AddressError>) -> Answer {
    match parsed {
        Ok(()) => Answer::Accepted(Fate::Deliver),
        Err(error) => {
            let status = error.status().unwrap_or(Status::new(5, 0, 0));
            Answer::Refused(Reply::new(553, Some(status), error.to_string()))
        }
    }
}
