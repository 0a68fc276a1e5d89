//! One call of a method on behalf of an HTTP request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde_json::Value;
use tokio::sync::oneshot;

use super::answer::{call_error, refusal};
use super::login::stopping;
use crate::caller::Caller;
use crate::connection::GatewayContext;
use crate::core_actor::messages::{Ask, Disconnected};
use crate::turn::Call;

/// How long a request waits for its answer. Methods answer at once, or when a process was started.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

struct Asked {
    context: Data<Rc<GatewayContext>>,
    caller: Arc<Caller>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        // One small message for each request; a core that is gone has nothing to forget.
        self.context.core.do_send(Disconnected(self.caller.connection));
    }
}

/// The payload of a method's first answer, or the HTTP answer that says why there is none.
pub(super) async fn ask(
    context: &Data<Rc<GatewayContext>>,
    caller: &Arc<Caller>,
    method: &str,
    params: Value,
) -> Result<Value, HttpResponse> {
    let (answer, answered) = oneshot::channel();
    let call = Call { caller: Arc::clone(caller), request: None, method: method.to_owned(), params };
    let asked = Asked { context: context.clone(), caller: Arc::clone(caller) };
    context.core.send(Ask { call, answer }).await.map_err(|_| stopping())?;
    let outcome = tokio::time::timeout(ANSWERED_WITHIN, answered).await;
    drop(asked);
    match outcome {
        Ok(Ok(outcome)) => outcome.map_err(|error| call_error(&error)),
        Ok(Err(_)) => Err(stopping()),
        Err(_) => {
            let said = "the gateway took too long; what was asked for may still happen";
            Err(refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", said))
        }
    }
}
