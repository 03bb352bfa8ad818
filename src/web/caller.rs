//! Who calls: the token of a request, looked up, and what a caller without one is told.
//!
//! In: `Authorization: Bearer <token>`, or Basic with the token for a password, for tools that know only that. Out: a
//! [`Caller`] in the request, or 401. What has been looked up is believed for a few seconds, so that the thousand
//! requests of a viewer cost no thousand statements; wrong tokens are counted by address, and after some of them an
//! address is answered without a look. A token stands in no log.

use super::{Problem, Site, server::Peer};
use crate::{
    config::Live,
    dicom::service::Asker,
    model::{Clock, Moment, Outgoing, Token, TokenId, chain, same_digest},
    store::{Durability, Store, StoreError, TokenRow},
};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How soon a token that was revoked lets nobody in any more.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// How exactly it is known when a token was last used.
const USE_NOTED_EVERY: Duration = Duration::from_secs(600);
const MAX_KNOWN: usize = 2_000;
/// Wrong tokens of one address within [`FAILURES_FOR`], after which it is not looked any more.
const MAX_FAILURES: u32 = 20;
const FAILURES_FOR: Duration = Duration::from_secs(60);
const MAX_ADDRESSES: usize = 4_000;
/// Base64 of a user's name and a token.
const LONGEST_AUTHORIZATION: usize = 1_024;

/// Who makes the request; taken by handlers of every route that is not open.
#[derive(Clone, Debug)]
pub struct Caller(pub Asker);

impl FromRequestParts<Arc<Site>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Site>) -> Result<Self, Problem> {
        // There for every route but the open ones: the table of routes sees to it.
        parts.extensions.get::<Caller>().cloned().ok_or_else(unauthorized)
    }
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer …")
}

/// Lets a request through with its [`Caller`], or answers it.
pub async fn require(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    match site.callers.recognise(request.headers(), peer).await {
        Ok(asker) => {
            request.extensions_mut().insert(Caller(asker));
            next.run(request).await
        }
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                // Bearer alone: a browser that is told of Basic asks its user for a name and a password.
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

pub struct Callers {
    store: Store,
    config: Live,
    clock: Clock,
    known: Mutex<HashMap<TokenId, Known>>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// A token that was found good.
#[derive(Clone)]
struct Known {
    row: TokenRow,
    looked_up: Instant,
    noted: Option<Moment>,
}

struct Failures {
    count: u32,
    since: Instant,
}

impl Callers {
    pub fn new(store: Store, config: Live, clock: Clock) -> Self {
        Self { store, config, clock, known: Mutex::default(), failures: Mutex::default() }
    }

    async fn recognise(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Asker, Problem> {
        let Some(token) = token_of(headers) else {
            // No token at all is how browsers begin; a wrong one is what is counted.
            if headers.contains_key(header::AUTHORIZATION) {
                self.failed(peer);
            }
            return Err(unauthorized());
        };
        let known = self.known().get(token.id()).cloned();
        let Some(row) = self.look_up(&token, known, peer).await? else {
            self.failed(peer);
            return Err(unauthorized());
        };
        // A partner that has been taken out of the configuration is nobody any more.
        if !self.config.now().partners.contains_key(&row.partner) {
            return Err(unauthorized());
        }
        self.note_use(&row).await;
        Ok(Asker { partner: row.partner, ae_title: row.name, letters: Outgoing::default() })
    }

    /// `None`: it lets nobody in.
    async fn look_up(
        &self,
        token: &Token,
        known: Option<Known>,
        peer: Option<IpAddr>,
    ) -> Result<Option<TokenRow>, Problem> {
        let now = self.clock.now();
        let fits = |row: &TokenRow| same_digest(&row.sha256, &token.sha256()) && row.is_valid(now);
        if let Some(known) = &known
            && known.looked_up.elapsed() < BELIEVED_FOR
        {
            return Ok(Some(&known.row).filter(|row| fits(row)).cloned());
        }
        // Who has been let in before is looked up again, whoever else tries wrong tokens from behind the same proxy.
        let was_good = known.as_ref().is_some_and(|known| fits(&known.row));
        if !was_good && self.has_failed_often(peer) {
            return Err(Problem {
                retry_after: Some(60),
                ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens from this address")
            });
        }
        let found = self.store.token(token.id()).await.map_err(|error| cannot_look(&error))?;
        let found = found.filter(fits);
        let mut all = self.known();
        match &found {
            Some(row) => {
                if all.len() >= MAX_KNOWN && !all.contains_key(&row.id) {
                    all.retain(|_, known| known.looked_up.elapsed() < BELIEVED_FOR);
                }
                if all.len() < MAX_KNOWN {
                    let noted = known.and_then(|known| known.noted).or(row.last_used);
                    all.insert(row.id.clone(), Known { row: row.clone(), looked_up: Instant::now(), noted });
                }
            }
            // Not for a wrong secret: that would let anybody who knows an id slow its holder down.
            None if was_good => drop(all.remove(token.id())),
            None => {}
        }
        Ok(found)
    }

    /// Writes down that it was used, once in a while. A use that is not written down is no reason to refuse it.
    async fn note_use(&self, row: &TokenRow) {
        let now = self.clock.now();
        {
            let mut all = self.known();
            let Some(known) = all.get_mut(&row.id) else { return };
            if known.noted.is_some_and(|noted| now.since(noted) < USE_NOTED_EVERY) {
                return;
            }
            known.noted = Some(now);
        }
        let noted = async {
            let mut tx = self.store.begin(Durability::Process).await?;
            tx.token_used(&row.id, now).await?;
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::warn!(token = %row.id, error = %chain(&error), "Not noted that a token was used");
        }
    }

    fn failed(&self, peer: Option<IpAddr>) {
        metrics::counter!("neisse_http_wrong_tokens_total").increment(1);
        let Some(peer) = peer else { return };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_ADDRESSES {
            failures.retain(|_, failed| failed.since.elapsed() < FAILURES_FOR);
        }
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&peer) {
            return;
        }
        let failed = failures.entry(peer).or_insert(Failures { count: 0, since: Instant::now() });
        if failed.since.elapsed() >= FAILURES_FOR {
            *failed = Failures { count: 0, since: Instant::now() };
        }
        failed.count = failed.count.saturating_add(1);
        if failed.count == MAX_FAILURES {
            tracing::warn!(address = %peer, "{MAX_FAILURES} wrong tokens from {peer} within a minute");
        }
    }

    fn has_failed_often(&self, peer: Option<IpAddr>) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = peer.and_then(|peer| failures.get(&peer));
        failed.is_some_and(|failed| failed.count >= MAX_FAILURES && failed.since.elapsed() < FAILURES_FOR)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TokenId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot_look(error: &StoreError) -> Problem {
    tracing::error!(error = %chain(error), "A token could not be looked up");
    Problem::unavailable("tokens cannot be looked up at the moment")
}

fn token_of(headers: &HeaderMap) -> Option<Token> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok().filter(|text| text.len() <= LONGEST_AUTHORIZATION)?;
    let (scheme, given) = value.split_once(' ')?;
    let given = given.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Token::parse(given);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(given).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    Token::parse(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_bearer_and_in_basic_and_nowhere_else() {
        let text = Token::new(&[9; 40]).reveal();
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            token_of(&headers).map(|token| token.id().clone())
        };
        let expected = Some(Token::new(&[9; 40]).id().clone());
        assert_eq!(of(&format!("Bearer {text}")), expected);
        assert_eq!(of(&format!("bearer  {text}")), expected);
        let basic = BASE64_STANDARD.encode(format!("anybody:{text}"));
        assert_eq!(of(&format!("Basic {basic}")), expected);
        for bad in [&text, "Bearer", "Bearer x", "Basic !!", &format!("Digest {text}"), &format!("Bearer {text}{text}")]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(of(&format!("Bearer {}", "a".repeat(5_000))), None);
    }
}
