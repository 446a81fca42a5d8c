#include "common/json.h"
#include "server/task/classification/parts_priv.h"
#include "server/task/quote.h"

#include <stdio.h>
#include <string.h>

/* The shapes of service.md section 2; the first member that occurs decides which it is. */
enum shape { SHAPE_TEXT, SHAPE_PAIR, SHAPE_CHAT };

struct shape_row {
    const char *name;       /* in messages */
    const char *members[3]; /* what the shape consists of, label apart */
    int has_label_member;
};

static const struct shape_row shapes[] = {
    [SHAPE_TEXT] = {"text", {"text"}, 1},
    [SHAPE_PAIR] = {"text_a and text_b", {"text_a", "text_b"}, 1},
    [SHAPE_CHAT] = {"messages", {"messages"}, 0},
};

const char *gdfo_classification_shape_name(int shape)
{
    return shapes[shape].name;
}

static enum gdfo_status wrong_type(struct gdfo_error *err, const char *member,
                                   const struct gdfo_json *v, const char *want)
{
    return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s is %s; want %s", member,
                          v == NULL ? "missing" : gdfo_json_type_name(gdfo_json_type(v)), want);
}

static int is_member_of(const struct shape_row *shape, const char *key)
{
    for (size_t i = 0; i < 3 && shape->members[i] != NULL; i++) {
        if (strcmp(key, shape->members[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Every member must belong: a typo in a label file would otherwise train on nothing. */
static enum gdfo_status check_members(const struct gdfo_json *object, const struct shape_row *shape,
                                      enum gdfo_rows rows, struct gdfo_error *err)
{
    for (const struct gdfo_json *v = gdfo_json_first(object); v != NULL; v = gdfo_json_next(v)) {
        const char *key = gdfo_json_key(v);
        int is_label = strcmp(key, "label") == 0;
        if (is_label && rows == GDFO_ROWS_INPUTS) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "label is not wanted here");
        }
        if (strcmp(key, "id") == 0 || strcmp(key, "meta") == 0 || is_member_of(shape, key) ||
            (is_label && shape->has_label_member)) {
            continue;
        }
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "unknown member %s beside %s",
                              gdfo_task_quote(key).s, shape->name);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status find_shape(const struct gdfo_json *object, enum shape *shape,
                                   struct gdfo_error *err)
{
    int n = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int is_there = 0;
        for (size_t k = 0; k < 3 && shapes[i].members[k] != NULL; k++) {
            is_there |= gdfo_json_get(object, shapes[i].members[k]) != NULL;
        }
        if (is_there) {
            *shape = (enum shape)i;
            n++;
        }
    }
    if (n == 1) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_INVALID,
                          n == 0 ? "no text; want text, or text_a and text_b, or messages"
                                 : "text, text_a and text_b, and messages exclude each other");
}

static enum gdfo_status take_text(const struct gdfo_json *object, const char *member,
                                  struct gdfo_buf *out, struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_json_get(object, member);
    const char *s = v != NULL ? gdfo_json_string(v) : NULL;
    if (s == NULL) {
        return wrong_type(err, member, v, "a string");
    }
    if (s[0] == '\0') {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s is empty; want 1 byte or more", member);
    }
    gdfo_buf_add(out, s);
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_label(const struct gdfo_buf *b, struct gdfo_error *err)
{
    const char *label = b->data;
    size_t n = b->len;
    if (!gdfo_buf_ok(b)) {
        return gdfo_error_no_memory(err, "reading an example");
    }
    if (n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "label is empty; want 1..64 bytes");
    }
    if (n > GDFO_DATASET_LABEL_MAX_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "label %s has %zu bytes; want 1..64",
                              gdfo_task_quote(label).s, n);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status take_label(const struct gdfo_json *object, struct gdfo_row_draft *out,
                                   struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_json_get(object, "label");
    const char *s = v != NULL ? gdfo_json_string(v) : NULL;
    int64_t number = 0;
    if (s != NULL) {
        gdfo_buf_add(&out->label, s);
    } else if (v != NULL && gdfo_json_int(v, &number)) {
        gdfo_buf_addf(&out->label, "%lld", (long long)number);
    } else {
        return wrong_type(err, "label", v, "a string or an integer");
    }
    out->has_label = 1;
    return check_label(&out->label, err);
}

/* ---- chat ---- */

/* The text of one message: a string, or parts of type text one below the other. */
static enum gdfo_status add_parts(const struct gdfo_json *parts, struct gdfo_buf *out,
                                  struct gdfo_error *err)
{
    const char *between = "";
    for (const struct gdfo_json *v = gdfo_json_first(parts); v != NULL; v = gdfo_json_next(v)) {
        int is_object = gdfo_json_type(v) == GDFO_JSON_OBJECT;
        const struct gdfo_json *type = is_object ? gdfo_json_get(v, "type") : NULL;
        const struct gdfo_json *text = is_object ? gdfo_json_get(v, "text") : NULL;
        const char *type_name = type != NULL ? gdfo_json_string(type) : NULL;
        if (type_name == NULL || strcmp(type_name, "text") != 0 || text == NULL ||
            gdfo_json_string(text) == NULL || gdfo_json_size(v) != 2) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "a content part is not {\"type\":\"text\",\"text\":...}");
        }
        gdfo_buf_add(out, between);
        gdfo_buf_add(out, gdfo_json_string(text));
        between = "\n";
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_message(const struct gdfo_json *message, const char **role,
                                      struct gdfo_error *err)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    if (gdfo_json_type(message) != GDFO_JSON_OBJECT) {
        return wrong_type(err, "a message", message, "an object");
    }
    for (const struct gdfo_json *v = gdfo_json_first(message); v != NULL; v = gdfo_json_next(v)) {
        const char *key = gdfo_json_key(v);
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "unknown member %s of a message",
                                  gdfo_task_quote(key).s);
        }
    }
    const struct gdfo_json *v = gdfo_json_get(message, "role");
    *role = v != NULL ? gdfo_json_string(v) : NULL;
    if (*role == NULL) {
        return wrong_type(err, "role", v, "a string");
    }
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(*role, roles[i]) == 0) {
            return GDFO_STATUS_OK;
        }
    }
    return gdfo_error_set(err, GDFO_STATUS_INVALID,
                          "role is %s; want system, developer, user or assistant",
                          gdfo_task_quote(*role).s);
}

static enum gdfo_status add_content(const struct gdfo_json *message, struct gdfo_buf *out,
                                    struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_json_get(message, "content");
    if (v != NULL && gdfo_json_string(v) != NULL) {
        gdfo_buf_add(out, gdfo_json_string(v));
        return GDFO_STATUS_OK;
    }
    if (v != NULL && gdfo_json_type(v) == GDFO_JSON_ARRAY) {
        return add_parts(v, out, err);
    }
    return wrong_type(err, "content", v, "a string or an array of text parts");
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The answer of a chat is typed by people and models: its white space is not part of the label. */
static void trim(struct gdfo_buf *b)
{
    size_t from = 0;
    size_t to = b->len;
    while (from < to && is_space(b->data[from])) {
        from++;
    }
    while (to > from && is_space(b->data[to - 1])) {
        to--;
    }
    if (to < b->len || from > 0) {
        memmove(b->data, b->data + from, to - from);
        b->len = to - from;
        b->data[b->len] = '\0';
    }
}

static enum gdfo_status take_chat(const struct gdfo_json *object, struct gdfo_row_draft *out,
                                  struct gdfo_error *err)
{
    const struct gdfo_json *messages = gdfo_json_get(object, "messages");
    const char *between = "";
    const char *role = "";
    enum gdfo_status status = GDFO_STATUS_OK;
    if (gdfo_json_type(messages) != GDFO_JSON_ARRAY) {
        return wrong_type(err, "messages", messages, "an array");
    }
    for (const struct gdfo_json *v = gdfo_json_first(messages);
         v != NULL && status == GDFO_STATUS_OK; v = gdfo_json_next(v)) {
        int is_last = gdfo_json_next(v) == NULL;
        status = check_message(v, &role, err);
        if (!is_last) {
            gdfo_buf_add(&out->text, between);
        }
        if (status == GDFO_STATUS_OK) {
            status = add_content(v, is_last ? &out->label : &out->text, err);
        }
        between = "\n";
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (strcmp(role, "assistant") != 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the last message is no assistant's; want the label there");
    }
    if (gdfo_buf_ok(&out->text) && out->text.len == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "no text before the assistant's message");
    }
    trim(&out->label);
    out->has_label = 1;
    return check_label(&out->label, err);
}

/* ---- one row ---- */

enum gdfo_status gdfo_classification_parse_row(const struct gdfo_json *object, enum gdfo_rows rows,
                                               struct gdfo_row_draft *out, struct gdfo_error *err)
{
    enum shape shape = SHAPE_TEXT;
    enum gdfo_status status = find_shape(object, &shape, err);
    if (status == GDFO_STATUS_OK && shape == SHAPE_CHAT && rows == GDFO_ROWS_INPUTS) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "messages are not taken here; want text, or text_a and text_b");
    }
    if (status == GDFO_STATUS_OK) {
        status = check_members(object, &shapes[shape], rows, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    out->shape = (int)shape;
    out->is_pair = shape == SHAPE_PAIR;
    if (shape == SHAPE_CHAT) {
        status = take_chat(object, out, err);
    } else {
        status = take_text(object, shapes[shape].members[0], &out->text, err);
    }
    if (status == GDFO_STATUS_OK && shape == SHAPE_PAIR) {
        status = take_text(object, "text_b", &out->text_b, err);
    }
    if (status == GDFO_STATUS_OK && shape != SHAPE_CHAT && rows != GDFO_ROWS_INPUTS) {
        status = take_label(object, out, err);
    }
    if (status == GDFO_STATUS_OK &&
        (!gdfo_buf_ok(&out->text) || !gdfo_buf_ok(&out->text_b) || !gdfo_buf_ok(&out->label))) {
        status = gdfo_error_no_memory(err, "reading an example");
    }
    return status;
}
