use tokio_postgres::config::SslMode;

use super::*;
use crate::config::TlsDefaults;

fn target(text: &str) -> Result<Target, UrlError> {
    Target::parse(&DatabaseUrl::parse(text).unwrap())
}

/// The message for a URL that is rejected. `geheim` stands for the password.
fn rejected(text: &str) -> String {
    let message = target(text).map(|_| ()).unwrap_err().to_string();
    assert!(!message.contains("geheim"), "{message}");
    message
}

#[test]
fn the_description_contains_no_secret() {
    for url in [
        "postgres://user:geheim@db.example:5433/shop",
        "postgres://db.example:5433/shop?user=user&password=geheim@x",
    ] {
        let description = target(url).unwrap().without_secrets();
        assert_eq!(description, "postgres://db.example:5433/shop");
    }
    let two = target("postgres://u:geheim@a:1,b:2/shop").unwrap();
    assert_eq!(two.without_secrets(), "postgres://a:1,b:2/shop");
    let six = target("postgres://[::1]:1,b/shop").unwrap();
    assert_eq!(six.without_secrets(), "postgres://[::1]:1,b:5432/shop");
}

#[test]
fn the_password_ends_at_the_first_at_sign() {
    for (written, meant) in [
        ("ge?heim", "ge?heim"),
        ("ge:heim&x=y", "ge:heim&x=y"),
        ("ge%3Fh%40e%2Fim%25", "ge?h@e/im%"),
    ] {
        let target = target(&format!("postgres://us%65r:{written}@h/d?sslmode=disable")).unwrap();
        assert_eq!(target.config.get_user(), Some("user"));
        assert_eq!(target.config.get_password(), Some(meant.as_bytes()));
        assert_eq!(target.without_secrets(), "postgres://h:5432/d");
    }
    let query = target("postgres://h/d?user=u&password=ge%26he@im").unwrap();
    assert_eq!(query.config.get_password(), Some(b"ge&he@im".as_slice()));
    // What libpq misreads is rejected with a hint.
    for (bad, hint) in [
        ("postgres://u:p@geheim@h/d", "%40"),
        ("postgres://u:p/geheim@h/d", "%2F"),
        ("postgres://u:12/geheim@h/d", "%2F"),
        ("postgres://u:%geheim@h/d", "%25"),
        ("postgres://u:geheim%00@h/d", "%25"),
        ("postgres://h/d?password=a&geheim", "%26"),
    ] {
        let message = rejected(bad);
        assert!(message.contains(hint), "{message}");
    }
}

#[test]
fn a_bad_url_is_rejected_without_being_quoted() {
    for bad in [
        "postgres://u:geheim@h:port/d",
        "postgres://u:geheim@h:0/d",
        "postgres://u:geheim@h:65536/d",
        "postgres:///d",
        "postgres://u:geheim@/d",
        "postgres://u:geheim@a,/d",
        "postgres://u:geheim@a:1,b:2/d?port=1,2,3",
        "postgres://u:geheim@[::1/d",
        "postgres://u:geheim@[::1]x/d",
        "postgres://h/d?user=%ff",
        "postgres://h/d?connect_timeout=geheim",
        "postgres://a,b/d?hostaddr=127.0.0.1",
        "postgres://a/d?hostaddr=geheim",
    ] {
        rejected(bad);
    }
}

#[test]
fn an_unknown_parameter_is_named_and_its_value_is_not() {
    let message = rejected("postgres://h/d?nonsense=geheim");
    assert!(message.contains("nonsense"), "{message}");
    for name in ["gssencmode", "krbsrvname", "passfile", "service"] {
        let message = rejected(&format!("postgres://h/d?{name}=geheim"));
        assert!(message.contains(name), "{message}");
    }
    // Probably the rest of a password that contains an `&`.
    rejected(
        "postgres://h/d?password=x&Geheim7=y"
            .replace("Geheim", "geheim-")
            .as_str(),
    );
}

#[test]
fn encryption_with_kerberos_is_not_supported_and_must_not_be_required() {
    for accepted in ["disable", "prefer", ""] {
        assert!(target(&format!("postgres://h/d?gssencmode={accepted}")).is_ok());
    }
    let message = rejected("postgres://h/d?gssencmode=require");
    assert!(
        message.contains("gssencmode takes disable, prefer"),
        "{message}"
    );
}

#[test]
fn lists_of_hosts_addresses_and_ports_are_combined() {
    let endpoints = |text: &str| {
        let endpoints = target(text).unwrap().endpoints;
        let parts = |e: Endpoint| (e.name, e.host, e.port);
        endpoints.into_iter().map(parts).collect::<Vec<_>>()
    };
    let name = |name: &str, port| (name.to_owned(), Host::Name, port);
    assert_eq!(
        endpoints("postgres://a,b:1/d"),
        [name("a", 5432), name("b", 1)]
    );
    assert_eq!(
        endpoints("postgres://a,b/d?port=7"),
        [name("a", 7), name("b", 7)]
    );
    assert_eq!(endpoints("postgres://a:1/d?host=b"), [name("b", 1)]);
    assert_eq!(
        endpoints("postgres://%2Ftmp%2Fx:6/d"),
        [("/tmp/x".to_owned(), Host::Directory("/tmp/x".into()), 6)]
    );
    let address = Host::Address([127, 0, 0, 1].into());
    assert_eq!(
        endpoints("postgres://a,b/d?hostaddr=127.0.0.1,"),
        [("a".to_owned(), address, 5432), name("b", 5432)]
    );
}

#[test]
fn an_empty_value_counts_as_absent() {
    let empty = "connect_timeout=&sslmode=&sslrootcert=&application_name=&options=&port=&host=\
                 &target_session_attrs=&channel_binding=&keepalives=&password=&nonsense=";
    let target = target(&format!("postgres://:@h:/d?{empty}")).unwrap();
    assert_eq!(target.without_secrets(), "postgres://h:5432/d");
    assert_eq!(target.config.get_application_name(), Some("order-service"));
    assert_eq!(target.config.get_user(), None);
    assert_eq!(target.config.get_password(), None);
    assert_eq!(target.connect_timeout, None);
    assert_eq!(target.session_attrs, TargetSessionAttrs::Any);
    assert!(target.socket.keepalive.is_some());
}

#[test]
fn the_other_parameters_mean_the_same_as_in_libpq() {
    let target = target(
        "postgresql://h/d?connect_timeout=3&application_name=me&options=-c%20geqo%3Doff\
         &keepalives_idle=7&keepalives_interval=8&keepalives_count=9&tcp_user_timeout=1500\
         &target_session_attrs=primary&channel_binding=require&load_balance_hosts=random\
         &client_encoding=UTF8",
    )
    .unwrap();
    assert_eq!(target.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(target.config.get_application_name(), Some("me"));
    assert_eq!(target.config.get_options(), Some("-c geqo=off"));
    assert_eq!(target.config.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(target.session_attrs, TargetSessionAttrs::Primary);
    assert!(target.random_order);
    let keepalive = Keepalive {
        idle: Duration::from_secs(7),
        interval: Duration::from_secs(8),
        count: 9,
    };
    assert_eq!(target.socket.keepalive, Some(keepalive));
    let user_timeout = Some(Duration::from_millis(1500));
    assert_eq!(target.socket.user_timeout, user_timeout);
}

#[test]
fn ssl_parameters_are_read_as_in_libpq() {
    let tls = |query: &str| target(&format!("postgres://h/d?{query}")).map(|target| target.tls);
    let mode = |query: &str| tls(query).map(|tls| tls.mode);
    assert_eq!(mode(""), Ok(SslMode::Prefer));
    assert_eq!(mode("sslmode=disable"), Ok(SslMode::Disable));
    assert_eq!(mode("sslmode=verify-full"), Ok(SslMode::Require));
    assert_eq!(mode("ssl=true"), Ok(SslMode::Require));
    assert!(mode("sslmode=sometimes").is_err());
    assert_eq!(
        tls("sslmode=require&sslrootcert=/ca.pem"),
        tls("sslmode=verify-ca&sslrootcert=/ca.pem")
    );
    // With the system's root certificates alone, a certificate of any public authority would do.
    assert!(tls("sslmode=verify-ca").is_err());
    // As in libpq 16.
    assert_eq!(
        tls("sslrootcert=system"),
        tls("sslmode=verify-full&sslrootcert=system")
    );
    for weaker in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let message = rejected(&format!(
            "postgres://h/d?sslmode={weaker}&sslrootcert=system"
        ));
        assert!(message.contains("verify-full"), "{message}");
    }
    assert!(tls("sslmode=require&sslnegotiation=direct").is_ok());
    assert!(tls("sslnegotiation=direct").is_err());
    assert!(tls("sslcert=/client.pem").is_err());
}

#[test]
fn tls_defaults_apply_where_the_url_has_no_parameter() {
    let defaults = TlsDefaults {
        mode: Some("verify-full".to_owned()),
        root_cert: Some("/ca.pem".to_owned()),
        client: Some(("/tls.crt".to_owned(), "/tls.key".to_owned())),
    };
    let tls = |query: &str, defaults: &TlsDefaults| {
        let url = DatabaseUrl::parse(&format!("postgres://h/d?{query}")).unwrap();
        Target::parse(&url.with_tls_defaults(defaults.clone())).map(|target| target.tls)
    };
    let none = TlsDefaults::default();
    let files = "sslcert=/tls.crt&sslkey=/tls.key";
    assert_eq!(
        tls("", &defaults),
        tls(
            &format!("sslmode=verify-full&sslrootcert=/ca.pem&{files}"),
            &none
        )
    );
    // The URL takes precedence, also with a weaker mode.
    assert_eq!(
        tls("sslmode=require&sslrootcert=/other.pem", &defaults),
        tls(
            &format!("sslmode=require&sslrootcert=/other.pem&{files}"),
            &none
        )
    );
    // A certificate is never combined with the key of another one.
    assert_eq!(
        tls("sslcert=/mine.crt", &defaults),
        Err(UrlError::CertificateWithoutKey)
    );
    let mode = TlsDefaults {
        mode: Some("sometimes".to_owned()),
        ..none
    };
    assert!(tls("", &mode).is_err());
}
