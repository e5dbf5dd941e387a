//! The queue over a recorder: a day in its life, from an empty folder on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use libmaps::store::disk::Disk;
use smtpd::queue::{
    Body, Envelope, Expanded, Hold, Origin, Progress, Queue, QueueError, QueuedRecipient,
    QueuedTarget,
};

use super::super::report::Findings;
use super::super::{Effort, Lab};
use super::ledger::{Ledger, Message, Promise};
use super::recorder::{Fate, Plan, Recorder, no_faults};
use super::tape::Tape;
use super::{ERRORS, Judge, judged, replay};

/// A text that gets a file of its own.
const LARGE: usize = 70_000;

/// A day over a recorder.
pub(super) struct Day {
    pub(super) tape: Tape,
    pub(super) ledger: Ledger,
    /// How many acts there were, those included that failed.
    pub(super) acts: usize,
    folder: tempfile::TempDir,
}

impl Day {
    /// Lives through a day on a disk that fails as planned. At its end the disk is whole, and
    /// the queue must take mail again: else an error.
    pub(super) fn live(plan: Plan) -> io::Result<Result<Self, String>> {
        let folder = tempfile::tempdir()?;
        let disk = Arc::new(Recorder::new(folder.path(), plan)?);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut life = Life {
            path: folder.path().join("queue"),
            disk: Arc::clone(&disk),
            ledger: Ledger::default(),
            queue: None,
        };
        let ended = runtime.block_on(async {
            life.day().await;
            disk.heal();
            life.evening().await
        });
        drop(life.queue);
        let Life { ledger, .. } = life;
        if let Err(why) = ended {
            return Ok(Err(why));
        }
        Ok(Ok(Day {
            acts: disk.acts(),
            tape: disk.take(),
            ledger,
            folder,
        }))
    }

    /// Judges what a crash left in a folder.
    pub(super) fn judge(&self, folder: &Path, notes: usize) -> Result<(), String> {
        self.ledger.judge(&folder.join("queue"), notes)
    }
}

/// The day as it goes on.
struct Life {
    path: std::path::PathBuf,
    disk: Arc<Recorder>,
    ledger: Ledger,
    /// `None` where it could not be opened.
    queue: Option<Arc<Queue>>,
}

impl Life {
    async fn day(&mut self) {
        self.open();
        let _ = self.add("a", 100).await;
        let _ = self.add("b", LARGE).await;
        self.add_two(("c", 200), ("d", LARGE + 9)).await;
        self.expand("a").await;
        self.settle("a", Some("n")).await;
        self.settle("b", None).await;
        self.remove("c").await;
        self.reopen();
        let _ = self.add("e", LARGE).await;
        self.hold("d").await;
    }

    /// The disk is whole again.
    async fn evening(&mut self) -> Result<(), String> {
        if self.queue.is_none() {
            self.reopen();
        }
        if self.queue.is_none() {
            return Err("the queue can't be opened on a disk that is whole again".into());
        }
        match self.add("z", 300).await {
            Ok(()) => Ok(()),
            Err(why) => Err(format!(
                "no message is taken on a disk that is whole again: {why}"
            )),
        }
    }

    fn open(&mut self) {
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        self.queue = Queue::open_on(&self.path, disk).ok();
    }

    fn reopen(&mut self) {
        self.queue = None;
        self.ledger.reopen();
        self.disk.note();
        self.open();
    }

    fn begin(&mut self, promise: Promise) -> usize {
        let number = self.ledger.begin(promise);
        self.disk.note();
        number
    }

    fn end(&mut self, number: usize, done: bool) {
        match done {
            true => self.ledger.keep(number),
            false => self.ledger.fail(number),
        }
        self.disk.note();
    }

    async fn add(&mut self, id: &str, octets: usize) -> Result<(), String> {
        let message = message(id, octets);
        let number = self.begin(Promise::one(id, Some(message.clone())));
        let result = match &self.queue {
            Some(queue) => take(queue, message).await,
            None => Err("no queue".into()),
        };
        self.end(number, result.is_ok());
        result
    }

    async fn add_two(&mut self, one: (&str, usize), other: (&str, usize)) {
        let both = [one, other].map(|(id, octets)| message(id, octets));
        let numbers = both
            .clone()
            .map(|message| self.begin(Promise::one(&message.envelope.id.clone(), Some(message))));
        let results = match &self.queue {
            Some(queue) => {
                let [one, other] = both;
                let (one, other) = tokio::join!(take(queue, one), take(queue, other));
                [one.is_ok(), other.is_ok()]
            }
            None => [false, false],
        };
        for (number, done) in numbers.into_iter().zip(results) {
            self.end(number, done);
        }
    }

    /// Changes the envelope of a message that is there.
    async fn change<F>(&mut self, id: &str, edit: impl FnOnce(&mut Envelope), act: F)
    where
        F: AsyncFnOnce(&Queue, &Envelope) -> Result<(), Arc<QueueError>>,
    {
        let Some(mut message) = self.ledger.now(id) else {
            return;
        };
        edit(&mut message.envelope);
        let envelope = message.envelope.clone();
        let number = self.begin(Promise::one(id, Some(message)));
        let done = match &self.queue {
            Some(queue) => act(queue, &envelope).await.is_ok(),
            None => false,
        };
        self.end(number, done);
    }

    async fn expand(&mut self, id: &str) {
        let edit = |envelope: &mut Envelope| {
            for recipient in &mut envelope.recipients {
                recipient.expanded = Expanded::Yes;
            }
            envelope.targets = vec![copy("x"), copy("y")];
        };
        self.change(id, edit, async |queue, envelope| {
            queue.note_expanded(envelope).await
        })
        .await;
        let edit = |envelope: &mut Envelope| {
            if let Some(copy) = envelope.targets.last_mut() {
                copy.progress = Progress::Done;
            }
        };
        self.change(id, edit, async |queue, envelope| {
            queue.note_copies(envelope, &[1]).await
        })
        .await;
    }

    async fn hold(&mut self, id: &str) {
        let edit = |envelope: &mut Envelope| envelope.hold = Some(Hold::Held);
        self.change(id, edit, async |queue, envelope| {
            queue.set_hold(&envelope.id, Some(Hold::Held)).await
        })
        .await;
    }

    /// Ends a try: of a message that waits on, with a notice; or of one that is done.
    async fn settle(&mut self, id: &str, notice: Option<&str>) {
        let Some(mut message) = self.ledger.now(id) else {
            return;
        };
        let mut promise = Promise::default();
        let mut notices = Vec::new();
        if let Some(notice) = notice {
            message.envelope.tries += 1;
            message.envelope.due_unix = 5000;
            promise.add(id, Some(message.clone()));
            let mut told = self::message(notice, 400);
            told.envelope.origin = Origin::Notice;
            notices.push((told.envelope.clone(), Body::Small(told.text.clone())));
            promise.add(notice, Some(told));
        } else {
            for recipient in &mut message.envelope.recipients {
                recipient.expanded = Expanded::Told;
            }
            promise.add(id, None);
        }
        let number = self.begin(promise);
        let done = match &self.queue {
            Some(queue) => queue.settle(&message.envelope, notices).await.is_ok(),
            None => false,
        };
        self.end(number, done);
    }

    async fn remove(&mut self, id: &str) {
        if self.ledger.now(id).is_none() {
            return;
        }
        let number = self.begin(Promise::one(id, None));
        let done = match &self.queue {
            Some(queue) => queue.remove(id).await.is_ok(),
            None => false,
        };
        self.end(number, done);
    }
}

/// Takes a message as the server does.
async fn take(queue: &Queue, message: Message) -> Result<(), String> {
    let Message { envelope, text } = message;
    let mut spool = queue.spool(&envelope.id);
    for piece in text.chunks(32 << 10) {
        spool.push(piece).map_err(|e| e.to_string())?;
    }
    let body = spool.finish().map_err(|e| e.to_string())?;
    queue.add(envelope, body).await.map_err(|e| e.to_string())
}

fn message(id: &str, octets: usize) -> Message {
    let line = format!("{id} says so\r\n");
    let text = line.bytes().cycle().take(octets).collect();
    let envelope = Envelope {
        id: id.into(),
        created_unix: 1_795_233_730,
        sender: "joe@b.example".into(),
        size_octets: octets as u64,
        recipients: vec![QueuedRecipient {
            address: "ann@d.example".into(),
            ..QueuedRecipient::default()
        }],
        ..Envelope::default()
    };
    Message { envelope, text }
}

fn copy(user: &str) -> QueuedTarget {
    QueuedTarget {
        mailer: "local".into(),
        user: user.into(),
        ..QueuedTarget::default()
    }
}

pub(super) fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    let day = match Day::live(no_faults())? {
        Ok(day) => day,
        Err(why) => return Err(io::Error::other(format!("the queue: {why}"))),
    };
    found.count("acts recorded", day.acts as u64);
    found.count("promises of the queue", day.ledger.kept() as u64);
    let losses = replay(
        "queue",
        &day.tape,
        lab.effort,
        found,
        &mut |folder, notes| day.judge(folder, notes),
    )?;
    losses.into_iter().for_each(|loss| found.lose(loss));
    let (step, most) = match lab.effort {
        Effort::Quick => (7, 1),
        Effort::Long => (1, ERRORS.len()),
    };
    for (name, error) in ERRORS.iter().take(most) {
        // For once, for a while, and up to the evening.
        for lasting in [1, 3, usize::MAX] {
            for number in (0..day.acts).step_by(step) {
                fail(number, lasting, name, *error, found)?;
            }
        }
    }
    Ok(())
}

/// Lets an act fail, and those after it.
fn fail(
    number: usize,
    lasting: usize,
    name: &str,
    error: i32,
    found: &mut Findings,
) -> io::Result<()> {
    let failed = Arc::new(std::sync::OnceLock::new());
    let note = Arc::clone(&failed);
    let day = Day::live(Box::new(move |at, act| {
        match at >= number && at - number < lasting {
            true => {
                let _ = note.set(act.tell());
                Fate::Fails(error)
            }
            false => Fate::Done,
        }
    }))?;
    found.count("acts that failed", 1);
    let what = failed.get().cloned().unwrap_or_default();
    let what = format!("queue: {name} at act {number} ({what}), lasting {lasting}");
    let day = match day {
        Ok(day) => day,
        Err(why) => {
            found.lose(format!("{what}: {why}"));
            return Ok(());
        }
    };
    let notes = day.tape.notes(day.tape.acts.len());
    // The machine loses power in the evening, or the server is killed.
    for crash in day
        .tape
        .crashes(day.tape.acts.len(), super::Combinations::Few)
    {
        found.count("crash images", 1);
        let folder = tempfile::tempdir()?;
        day.tape.tree(&crash).lay_out(folder.path())?;
        let judge: &mut Judge<'_> = &mut |folder, notes| day.judge(folder, notes);
        if let Err(why) = judged(judge, folder.path(), notes) {
            found.lose(format!("{what}: {}: {why}", day.tape.tell(&crash)));
        }
    }
    if let Err(why) = day.judge(day.folder.path(), notes) {
        found.lose(format!("{what}: {why}"));
    }
    Ok(())
}
