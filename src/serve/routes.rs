//! What is answered to which question.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::{
    alerts::Thresholds,
    concerns::{Concern, concerns},
    facts::{Facts, Gatherer},
    history::History,
    metrics::{self, Metrics},
    page::{self, Asked, Content},
};
use crate::{
    catalog::{Catalog, CatalogError},
    config::{Config, default_path},
};

/// For so long an answer counts as one to the next question as well: many who
/// ask cost no more than one.
const FRESH: Duration = Duration::from_secs(3);

/// Answers questions about one archive.
pub(super) struct Answers {
    config: RwLock<Arc<Config>>,
    metrics: Arc<Metrics>,
    last: Mutex<Last>,
}

/// The last look.
#[derive(Default)]
struct Last {
    gatherer: Gatherer,
    look: Option<(Instant, Arc<Look>)>,
}

/// What was seen at one moment.
struct Look {
    facts: Facts,
    history: History,
    concerns: Vec<Concern>,
}

impl Answers {
    pub(super) fn new(config: Arc<Config>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Answers {
            config: RwLock::new(config),
            metrics,
            last: Mutex::default(),
        })
    }

    /// Goes by the new configuration from now on.
    pub(super) fn take_over(&self, config: Arc<Config>) {
        let known = self.config.write();
        *known.unwrap_or_else(|poisoned| poisoned.into_inner()) = config;
    }

    /// Every address that there is.
    pub(super) fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(show_page))
            .route("/metrics", get(show_metrics))
            .route("/healthz", get(show_health))
            .route("/style.css", get(style))
            .route("/good.svg", get(|| icon(true)))
            .route("/bad.svg", get(|| icon(false)))
            .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
            .with_state(Arc::clone(self))
    }

    fn config(&self) -> Arc<Config> {
        let known = self.config.read();
        Arc::clone(&known.unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// What is seen now, or was within the last seconds. One looks at a time.
    async fn look(&self) -> Result<Arc<Look>, String> {
        let mut last = self.last.lock().await;
        if let Some((at, look)) = &last.look
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(look));
        }
        let config = self.config();
        let mut gatherer = std::mem::take(&mut last.gatherer);
        let looked = tokio::task::spawn_blocking(move || {
            let look = look(&config, &mut gatherer);
            (look, gatherer)
        });
        let (look, gatherer) = looked.await.map_err(|error| error.to_string())?;
        last.gatherer = gatherer;
        let look = Arc::new(look.map_err(|error| error.to_string())?);
        last.look = Some((Instant::now(), Arc::clone(&look)));
        Ok(look)
    }
}

fn look(config: &Config, gatherer: &mut Gatherer) -> Result<Look, CatalogError> {
    let facts = gatherer.gather(config);
    let catalog = Catalog::at(&config.catalog);
    let stores = config.stores.iter().map(|store| store.name().as_str());
    let stores: Vec<&str> = stores.collect();
    let history = History::read(&catalog, facts.generation, &stores, Timestamp::now());
    // A catalog that cannot be read is a fact as well, and shown as one.
    let history = match history {
        Err(_) if facts.no_catalog.is_some() => History::unknown(&stores, facts.at),
        history => history?,
    };
    Ok(Look {
        concerns: concerns(&facts, Thresholds::of(config)),
        facts,
        history,
    })
}

async fn show_page(
    State(answers): State<Arc<Answers>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let look = match answers.look().await {
        Ok(look) => look,
        Err(error) => return failed(&error),
    };
    let config = answers.config();
    let prices = config.stores.iter();
    let prices: BTreeMap<&str, f64> = prices
        .filter_map(|store| Some((store.name().as_str(), store.price_storage?)))
        .collect();
    let content = Content {
        facts: &look.facts,
        history: &look.history,
        concerns: &look.concerns,
        prices,
        window: i64::try_from(config.retention.window.as_secs()).unwrap_or(i64::MAX),
        command: &command(&config),
    };
    Html(page::page(&content, Asked::of(pairs)).into_string()).into_response()
}

/// `walkeep`, with what finds this configuration from anywhere.
fn command(config: &Config) -> String {
    match &config.path {
        Some(path) if *path != default_path(None) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("walkeep --config {}", path.display())
        }
        _ => "walkeep".to_owned(),
    }
}

async fn show_metrics(State(answers): State<Arc<Answers>>) -> Response {
    match answers.look().await {
        Ok(look) => {
            let text = answers.metrics.render(&look.facts, &look.concerns);
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// 200 where no alert is open; else 503, with a line for each.
async fn show_health(State(answers): State<Arc<Answers>>) -> Response {
    let look = match answers.look().await {
        Ok(look) => look,
        Err(error) => return failed(&error),
    };
    let open = look.concerns.iter().filter(|concern| concern.is_open);
    let text: String = open
        .map(|concern| format!("{}\n", concern.condition.message))
        .collect();
    if text.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        page::STYLE,
    )
}

async fn icon(is_good: bool) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, "image/svg+xml")];
    (content_type, page::icon_svg(is_good))
}

fn failed(error: &str) -> Response {
    tracing::error!("answer a question: {error}");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}
