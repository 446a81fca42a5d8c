#ifndef GDFO_SERVER_TASK_QUOTE_H
#define GDFO_SERVER_TASK_QUOTE_H

/*
 * A value from outside made fit for a message: cut at whole characters, control characters shown as
 * "?", always valid UTF-8, in double quotes. By value, so that it can stand in an argument list.
 */
#define GDFO_QUOTE_BYTES 88

struct gdfo_quoted {
    char s[GDFO_QUOTE_BYTES];
};

struct gdfo_quoted gdfo_task_quote(const char *text);

#endif
