#ifndef GDFO_CLIENT_CLI_CLI_H
#define GDFO_CLIENT_CLI_CLI_H

#include "client/cli/args.h"
#include "client/gdfo.h"

#include <stdio.h>

/*
 * What every subcommand shares: the exit codes, the context, and how failures are told. Data goes
 * to stdout, all else to stderr; with --json exactly one document goes to stdout (one a line for
 * streams), errors included. Only main.c reads the environment and exits.
 */
enum gdfo_exit { /* service.md section 10; the meaning of each is in exit.c */
                 GDFO_EXIT_DONE = 0,
                 GDFO_EXIT_FAILED = 1,
                 GDFO_EXIT_USAGE = 2,
                 GDFO_EXIT_DECLINED = 3,
                 GDFO_EXIT_TOKEN = 4,
                 GDFO_EXIT_NOT_FOUND = 5,
                 GDFO_EXIT_CONFLICT = 6,
                 GDFO_EXIT_UNREACHABLE = 7,
                 GDFO_EXIT_BUDGET = 8,
                 GDFO_EXIT_JOB_FAILED = 9,
                 GDFO_EXIT_JOB_CANCELLED = 10,
                 GDFO_EXIT_TIMEOUT = 11,
                 GDFO_EXIT_VERIFY = 12,
                 GDFO_EXIT_INTERRUPTED = 130
};

struct gdfo_cli {
    /* set by main */
    const char *url, *token; /* GDFO_URL, GDFO_TOKEN; may be NULL */
    const char *state_dir;   /* ~/.local/state/gdfo; NULL when there is no home */
    int is_tty_in, is_tty_out, is_tty_err;
    int is_dumb; /* TERM=dumb or none: no cursor movement, no blocks */
    int has_color;
    const atomic_int *cancel;
    FILE *out, *err;
    /* set by the dispatcher, from the words after the command */
    struct gdfo_cli_args args;
    const struct gdfo_cli_command *command;
    int is_json;
    const char *fields; /* of --json=id,status; NULL: all */
    /* made by gdfo_cli_connect */
    struct gdfo_client *client;
    struct gdfo_reply reply; /* the last answer */
};

struct gdfo_cli_command {
    const char *words;      /* "job run" */
    const char *short_form; /* "watch", or NULL */
    const char *usage;      /* "SPEC [--detach] ..." */
    size_t min_words, max_words;
    int is_local; /* 1: needs no daemon */
    const struct gdfo_cli_option *options;
    const char *help;                 /* one line */
    const char *about;                /* more for --help; may be NULL */
    int (*run)(struct gdfo_cli *cli); /* an enum gdfo_exit */
};

/* The options every command has; a command's table begins with this row. */
#define GDFO_CLI_JSON_OPTION                                                                       \
    {                                                                                              \
        "json", 0, GDFO_CLI_MAYBE, "FIELDS",                                                       \
            "one JSON document on stdout (only these members, if named)"                           \
    }

/* All commands, ended by NULL; made from commands.def. */
const struct gdfo_cli_command *const *gdfo_cli_commands(void);

/* Finds the command in argv (without the program's name), parses its words and runs it. The exit
 * code. */
int gdfo_cli_dispatch(struct gdfo_cli *cli, int argc, char **argv);

/* Tells a failure: words, next step, request id (of cli->reply, when it is an answer's), in JSON
 * too when asked for. Returns the exit code that belongs to it. */
int gdfo_cli_fail(struct gdfo_cli *cli, const struct gdfo_error *err);

/* The same for a failure of ours with its own exit code. */
GDFO_PRINTF(3, 4) int gdfo_cli_fail_as(struct gdfo_cli *cli, int code, const char *fmt, ...);

/* 0 when status is OK and the answer a 2xx; else tells it and returns the exit code. */
int gdfo_cli_check(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_error *err);

/* As gdfo_cli_check, and parses the body into *out (ended by gdfo_json_destroy). */
int gdfo_cli_check_json(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_json **out,
                        struct gdfo_error *err);

/* Prints v as the one document (or one line of a stream), with the fields asked for. */
int gdfo_cli_print_json(struct gdfo_cli *cli, const struct gdfo_json *v);

/* Asks a yes/no question on stderr. 1 when yes, --yes, or nobody can be asked. */
int gdfo_cli_confirm(struct gdfo_cli *cli, const char *question);

int gdfo_cli_is_interrupted(const struct gdfo_cli *cli);

/* exit.c: the closed list, and what to do next after an error code of the wire. */
int gdfo_exit_of_http(int http, const char *code);
const char *gdfo_exit_name(int code);    /* "not_found" */
const char *gdfo_exit_meaning(int code); /* NULL past the list */
const char *gdfo_exit_next_step(const char *code, int exit_code);

#endif
