//! Names of environment variables that no caller may set, whatever the configuration allows: they make a loader, a shell
//! or an interpreter run other code than the template's program.

const PREFIXES: &str = "BASH_ BUN_ CARGO_ COMPLUS_ CORECLR_ DENO_ DOTNET_ DYLD_ ERL_ GATEWARDEN_ GIT_ GUILE_ JULIA_ LD_ LUA_ MALLOC_ \
    NODE_ NPM_ OPENCLAW_ PERL PYTHON R_ RUBY RUSTC XDG_ _";

const NAMES: &str = "BASHOPTS BROWSER CDPATH CLASSPATH CURL_HOME EDITOR ELIXIR_ERL_OPTIONS EMACSLOADPATH ENV EXINIT FPATH GCONV_PATH \
    GEM_HOME GEM_PATH GLIBC_TUNABLES GLOBIGNORE GOFLAGS HOME HOSTALIASES IFS JAVA_OPTS JAVA_TOOL_OPTIONS \
    JDK_JAVA_OPTIONS LESSCLOSE LESSOPEN LOCALDOMAIN LOCPATH MAKEFLAGS MANPAGER MAVEN_OPTS NLSPATH OPENSSL_CONF \
    OPENSSL_ENGINES OPENSSL_MODULES PAGER PATH PHPRC PHP_INI_SCAN_DIR PROMPT_COMMAND PS4 RES_OPTIONS SHELL SHELLOPTS \
    SSH_ASKPASS SUDO_ASKPASS TCLLIBPATH VIMINIT VISUAL ZDOTDIR";

/// Whether a caller may never set this name. Case doesn't matter.
pub fn is_forbidden_env(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PREFIXES.split(' ').any(|prefix| name.starts_with(prefix)) || NAMES.split(' ').any(|known| known == name)
}

/// Whether this can name a variable at all: letters, digits and `_`, no digit first, at most 128 characters.
pub fn is_env_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_loaders_shells_and_interpreters_run_other_code_is_never_allowed() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "NODE_OPTIONS",
            "BASH_ENV",
            "ENV",
            "PERL5LIB",
            "PERL5OPT",
            "PERLLIB",
            "RUBYOPT",
            "GIT_SSH_COMMAND",
            "IFS",
            "ld_preload",
            "Path",
            "HOME",
            "GATEWARDEN_GATEWAY_RUN",
            "_JAVA_OPTIONS",
            "BASH_FUNC_ls%%",
            "DOTNET_STARTUP_HOOKS",
            "CORECLR_PROFILER_PATH",
            "JULIA_LOAD_PATH",
            "BASHOPTS",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
        ] {
            assert!(is_forbidden_env(name), "{name}");
        }
        for name in ["AGENT_NAME", "LANG", "TZ", "ENVIRONMENT", "MY_PATH", "MODEL", "READ_LD"] {
            assert!(!is_forbidden_env(name), "{name}");
        }
    }

    #[test]
    fn a_name_with_an_equals_sign_or_a_digit_first_is_none() {
        for name in ["", "A=B", "1A", "A B", "A\0", "Ä", &"A".repeat(129)] {
            assert!(!is_env_name(name), "{name}");
        }
        assert!(is_env_name("AGENT_NAME2"));
    }
}
