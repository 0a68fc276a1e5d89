//! Adopting descendants is a property of the whole process: a test program of its own.

#[cfg(test)]
mod adopting {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use gatewarden_embedded_gateway::effect::{ProcessNews, ProcessOrder, RunId};
    use gatewarden_embedded_gateway::processes::{Launcher, owner_of};
    use gatewarden_processes::proc_table::{self, Process};
    use gatewarden_processes::subreaper::adopt_descendants;
    use tokio::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn order(run: &str, script: &str, cwd: PathBuf) -> ProcessOrder {
        ProcessOrder {
            run: RunId(run.into()),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            cwd,
            make_cwd: false,
            stdin: None,
            json_lines: false,
            timeout: None,
            kill_grace: Duration::from_secs(10),
            open_files: None,
            memory: None,
            max_line_bytes: 1024,
            output_bytes_per_second: 1024 * 1024,
            acp: None,
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let watch = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("never seen: {what}"));
    }

    /// Lines up to the exit, and the strays that were counted there.
    async fn life(
        news: &mut mpsc::Receiver<gatewarden_embedded_gateway::effect::News>,
    ) -> (Vec<String>, Option<i32>, u32) {
        let mut lines = Vec::new();
        loop {
            let said = tokio::time::timeout(PATIENCE, news.recv()).await.expect("in time").expect("news").news;
            match said {
                ProcessNews::Line { text, .. } => lines.push(text),
                ProcessNews::Exited { code, strays, .. } => return (lines, code, strays),
                ProcessNews::NotStarted { reason } => panic!("{reason}"),
                _ => {}
            }
        }
    }

    /// The id of a leader that has said its first line.
    async fn started(news: &mut mpsc::Receiver<gatewarden_embedded_gateway::effect::News>) -> i32 {
        let mut leader = 0;
        loop {
            match tokio::time::timeout(PATIENCE, news.recv()).await.expect("in time").expect("news").news {
                ProcessNews::Started { pid } => leader = i32::try_from(pid).unwrap(),
                ProcessNews::Line { .. } => return leader,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_forks_away_is_adopted_ended_and_reaped_and_no_exit_code_is_lost() {
        adopt_descendants().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let home = std::fs::canonicalize(dir.path()).unwrap();
        let (sender, mut news) = mpsc::channel(64);
        let mut launcher = Launcher::new(owner_of(dir.path()), sender);
        let own = i32::try_from(std::process::id()).unwrap();

        // A daemon that shed even its environment, so that nothing but its parent tells whose it is.
        let script = "(setsid env -i /bin/sh -c 'echo $$ > pid; exec /bin/cat /dev/zero' > /dev/null 2>&1 &); \
                  while ! [ -s pid ]; do :; done; cat pid; exit 5";
        launcher.start(order("away", script, home.clone()));
        let (lines, code, strays) = life(&mut news).await;
        let daemon: i32 = lines[0].parse().unwrap();
        assert_eq!((code, strays), (Some(5), 1));
        until("reaped", || Process::read(daemon).is_none()).await;

        // Adopted processes that end by themselves leave no zombies.
        let script = "for i in 1 2 3; do (setsid sh -c 'exit 0' &); done; exit 6";
        for number in 0..5 {
            launcher.start(order(&format!("run-{number}"), script, home.clone()));
        }
        for _ in 0..5 {
            assert_eq!(life(&mut news).await.1, Some(6));
        }
        until("no child is left", || !proc_table::all().iter().any(|process| process.parent == own)).await;

        // What sheds its environment while others run is ended with its own run, and they live on.
        launcher.start(order(
            "long",
            "(setsid env -i /bin/cat /dev/zero > /dev/null 2>&1 &) ; echo ready; \
                  exec cat /dev/zero > /dev/null",
            home.clone(),
        ));
        let long = started(&mut news).await;
        let script = "rm pid; (setsid env -i /bin/sh -c 'echo $$ > pid; exec /bin/cat /dev/zero' > /dev/null 2>&1 &); \
                  while ! [ -s pid ]; do :; done; cat pid";
        launcher.start(order("away-2", script, home.clone()));
        let (lines, _, strays) = life(&mut news).await;
        let daemon: i32 = lines.iter().find_map(|line| line.parse().ok()).unwrap();
        assert_eq!(strays, 1);
        until("ended with its run", || Process::read(daemon).is_none_or(|process| process.is_dead())).await;
        assert!(Process::read(long).is_some_and(|process| !process.is_dead()), "the other run lives on");
        let others = || proc_table::all().into_iter().filter(|process| process.parent == own && !process.is_dead());
        assert_eq!(others().count(), 2, "its leader, and what that one left behind");

        // What sheds the other mark, too, can't be told from any run's: it is ended when the next one ends.
        let script = "rm pid; (prlimit --locks=7 setsid env -i /bin/sh -c 'echo $$ > pid; exec /bin/cat /dev/zero' > /dev/null 2>&1 &); \
                  while ! [ -s pid ]; do :; done; cat pid";
        launcher.start(order("away-3", script, home.clone()));
        assert_eq!(life(&mut news).await.2, 1);
        assert_eq!(others().count(), 2);
        drop(news);
        tokio::time::timeout(PATIENCE, launcher.stop()).await.unwrap();
        until("all is gone", || !proc_table::all().iter().any(|process| process.parent == own)).await;
    }
}
