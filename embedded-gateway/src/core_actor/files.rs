//! The core's hand on the files' thread.

use actix::{AsyncContext, Context, Handler, Message};

use super::CoreActor;
use crate::effect::FileChange;
use crate::files::{DiskQuery, Files, FilesNews};
use crate::turn::ReplyTo;

/// From the files' thread. Bounded by what the core actor wanted done: at most one for each change or question.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct FilesSay(FilesNews);

impl CoreActor {
    pub(super) fn start_files(&mut self, ctx: &Context<Self>) {
        let core = ctx.address();
        match Files::start(self.machine.config.state_dir.clone(), move |news| core.do_send(FilesSay(news))) {
            Ok(files) => self.files = Some(files),
            Err(error) => tracing::error!(%error, "the thread that writes files could not be started"),
        }
    }

    pub(super) fn change_file(&mut self, change: FileChange) {
        let file = change.file().to_owned();
        let news = match &self.files {
            Some(files) => files.change(change),
            None => Some(FilesNews::Failed { file, error: "no thread writes files; restart the gateway".to_owned() }),
        };
        self.hear_files(news);
    }

    pub(super) fn ask_disk(&mut self, to: ReplyTo, query: DiskQuery) {
        let news = match &self.files {
            Some(files) => files.ask(to, query),
            None => Some(FilesNews::Answered {
                to,
                outcome: Err(crate::reply::CallError::unavailable("no thread reads files; restart the gateway")),
            }),
        };
        self.hear_files(news);
    }

    fn hear_files(&mut self, news: Option<FilesNews>) {
        if let Some(news) = news {
            self.turn(|machine, turn| machine.files_news(news, turn));
        }
    }
}

impl Handler<FilesSay> for CoreActor {
    type Result = ();

    fn handle(&mut self, FilesSay(news): FilesSay, _: &mut Self::Context) {
        self.hear_files(Some(news));
    }
}
