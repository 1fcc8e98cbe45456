//! Where the page is, and what storage costs.

use super::*;

fn serve(table: &str) -> Result<ServeSettings, String> {
    let text = format!("[serve]\n{table}\n{R2}");
    let config = build(&text, &[]).map_err(|error| error.to_string())?;
    Ok(config.serve)
}

#[test]
fn the_page_is_on_loopback_unless_it_is_told_otherwise() {
    let at = |text: &str| Some(Listen::Tcp(text.parse().unwrap()));
    assert_eq!(good(R2).serve.listen, at("127.0.0.1:9847"));
    for (text, listen) in [
        ("localhost:80", at("127.0.0.1:80")),
        ("[::1]:9847", at("[::1]:9847")),
        ("off", None),
        (
            "unix:/run/walkeep.sock",
            Some(Listen::Unix("/run/walkeep.sock".into())),
        ),
    ] {
        let settings = serve(&format!("listen = \"{text}\"")).unwrap();
        assert_eq!(
            settings,
            ServeSettings {
                listen,
                token_file: None
            },
            "{text}"
        );
    }
    for text in ["", "9847", "example.org:80", "unix:here", "127.0.0.1"] {
        let error = serve(&format!("listen = \"{text}\"")).unwrap_err();
        assert!(error.contains("serve.listen"), "{error}");
    }
}

#[test]
fn other_hosts_need_a_token() {
    for listen in ["0.0.0.0:9847", "[::]:9847", "192.0.2.7:80"] {
        let error = serve(&format!("listen = \"{listen}\"")).unwrap_err();
        assert!(error.contains("serve.token_file"), "{error}");
        let both = format!("listen = \"{listen}\"\ntoken_file = \"/etc/walkeep/token\"");
        assert_eq!(
            serve(&both).unwrap().token_file,
            Some("/etc/walkeep/token".into())
        );
    }
    let error = serve("listen = \"unix:/run/w\"\ntoken_file = \"/t\"").unwrap_err();
    assert!(error.contains("serve.token_file: means nothing"), "{error}");
}

#[test]
fn storage_has_its_providers_price_or_the_given_one() {
    let price = |text: &str| good(text).stores[0].price_storage;
    assert_eq!(price(R2), Some(15.0));
    assert_eq!(price(NAS), None);
    assert_eq!(price(&format!("{NAS}price_storage = 2.5\n")), Some(2.5));
    for wrong in ["-1.0", "nan", "inf"] {
        let error = error(&format!("{NAS}price_storage = {wrong}\n"));
        assert!(error.contains("price_storage: no price"), "{error}");
    }
}
