//! `/v1/store/copies`: a copy of the embedded store, made now.

use axum::Json;
use axum::extract::State;
use fm_api::http::CopyBody;

use super::doors::Shared;
use super::error::Answer;
use crate::copies::name;

pub(super) async fn make(State(api): State<Shared>) -> Answer<CopyBody> {
    let copy = api.ctx.store.copy(&name(api.ctx.clock.now())).await?;
    Ok(Json(CopyBody {
        path: copy.path.display().to_string(),
        bytes: copy.bytes,
    }))
}
