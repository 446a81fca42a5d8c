#include "common/json.h"

#include "common/json_scan.h"
#include "common/mem.h"

#include <cjson/cJSON.h>

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * DESIGN. The scanner accepts or refuses the text; cJSON only builds the tree. One walk over the
 * tree then joins the two in document order: it marks integers (a bit of our own in cJSON's type
 * word), refuses numbers that became infinite and compares the member names of every object, which
 * cJSON has unescaped by then.
 */
#define INTEGER_BIT     (1 << 16) /* free in cJSON's type: it uses the low ten bits */
#define DEPTH_MAX       512       /* cJSON itself stops at 1,000 */
#define TEXT_MAX_BYTES  ((size_t)1 << 30)
#define DEFAULT_DEPTH   64
#define DEFAULT_STRING  (64u << 10)
#define DEFAULT_MEMBERS 256
#define DEFAULT_VALUES  20000

struct join {
    const struct gdfo_json_marks *marks;
    size_t next; /* index of the next value in document order */
    const char **keys;
    size_t keys_cap;
    struct gdfo_error *err;
};

static void *hook_alloc(size_t n)
{
    return gdfo_mem_array(1, n);
}

static void install_hooks(void)
{
    cJSON_Hooks hooks = {hook_alloc, gdfo_mem_free};
    cJSON_InitHooks(&hooks);
}

static const cJSON *node(const struct gdfo_json *v)
{
    return (const cJSON *)v;
}

static size_t or_default(size_t v, size_t fallback)
{
    return v ? v : fallback;
}

static enum gdfo_status fault(struct gdfo_error *err, size_t offset, const char *what)
{
    enum gdfo_status status =
        gdfo_error_set(err, GDFO_STATUS_FORMAT, "invalid JSON at byte %zu: %s", offset, what);
    gdfo_error_at(err, "", "invalid_json");
    return status;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The later of two members of this name, for the message's byte. */
static size_t offset_of_last(const struct join *j, const cJSON *object, const char *key)
{
    size_t offset = 0;
    for (const cJSON *c = object->child; c; c = c->next) {
        if (strcmp(c->string, key) == 0) {
            offset = j->marks->items[c->valueint].key_offset;
        }
    }
    return offset;
}

static enum gdfo_status check_keys(struct join *j, const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *c = object->child; c; c = c->next) {
        void *keys = (void *)j->keys;
        if (n == j->keys_cap) {
            if (!gdfo_mem_grow(&keys, &j->keys_cap, n + 1, sizeof *j->keys)) {
                return gdfo_error_no_memory(j->err, "reading JSON");
            }
            j->keys = keys;
        }
        j->keys[n++] = c->string;
    }
    if (n > 1) {
        qsort((void *)j->keys, n, sizeof *j->keys, compare_keys);
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(j->keys[i - 1], j->keys[i]) == 0) {
            return fault(j->err, offset_of_last(j, object, j->keys[i]),
                         "a member name stands twice in one object");
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status join_node(struct join *j, cJSON *v)
{
    const struct gdfo_json_mark *mark = &j->marks->items[j->next];
    enum gdfo_status status = GDFO_STATUS_OK;
    v->valueint = (int)j->next++;
    if (cJSON_IsNumber(v) && !isfinite(v->valuedouble)) {
        return fault(j->err, mark->offset, "a number outside the range of a double");
    }
    v->type |= mark->is_integer ? INTEGER_BIT : 0;
    for (cJSON *c = v->child; c && status == GDFO_STATUS_OK; c = c->next) {
        status = join_node(j, c);
    }
    return status == GDFO_STATUS_OK && cJSON_IsObject(v) ? check_keys(j, v) : status;
}

enum gdfo_status gdfo_json_parse(struct gdfo_json **out, const char *text, size_t n,
                                 const struct gdfo_json_limits *limits, struct gdfo_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct gdfo_json_limits given = limits ? *limits : (struct gdfo_json_limits){0};
    const struct gdfo_json_limits full = {
        .depth = or_default(given.depth, DEFAULT_DEPTH) < DEPTH_MAX
                     ? or_default(given.depth, DEFAULT_DEPTH)
                     : DEPTH_MAX,
        .string_bytes = or_default(given.string_bytes, DEFAULT_STRING),
        .members = or_default(given.members, DEFAULT_MEMBERS),
        .values = or_default(given.values, DEFAULT_VALUES),
    };
    struct gdfo_json_marks marks = {0};
    struct join j = {.marks = &marks, .err = err};
    cJSON *root = NULL;
    enum gdfo_status status;
    (void)pthread_once(&once, install_hooks);
    if (n > TEXT_MAX_BYTES) {
        return fault(err, TEXT_MAX_BYTES, "longer than 1 GiB");
    }
    status = gdfo_json_scan(text, n, &full, &marks, err);
    if (status == GDFO_STATUS_OK) {
        root = cJSON_ParseWithLength(text, n);
        /* The scanner has taken the text, so only memory can have failed. */
        status = root ? join_node(&j, root) : gdfo_error_no_memory(err, "reading JSON");
    }
    gdfo_mem_free((void *)j.keys);
    gdfo_mem_free(marks.items);
    if (status != GDFO_STATUS_OK) {
        cJSON_Delete(root);
        return status;
    }
    *out = (struct gdfo_json *)root;
    return GDFO_STATUS_OK;
}

void gdfo_json_destroy(struct gdfo_json *root)
{
    cJSON_Delete((cJSON *)root);
}

enum gdfo_json_type gdfo_json_type(const struct gdfo_json *v)
{
    switch (node(v)->type & 0xFF) {
    case cJSON_False:
    case cJSON_True: return GDFO_JSON_BOOL;
    case cJSON_Number: return GDFO_JSON_NUMBER;
    case cJSON_String: return GDFO_JSON_STRING;
    case cJSON_Array: return GDFO_JSON_ARRAY;
    case cJSON_Object: return GDFO_JSON_OBJECT;
    default: return GDFO_JSON_NULL;
    }
}

const char *gdfo_json_type_name(enum gdfo_json_type type)
{
    static const char *const names[] = {"null",     "true or false", "a number",
                                        "a string", "an array",      "an object"};
    return names[type];
}

const struct gdfo_json *gdfo_json_get(const struct gdfo_json *object, const char *key)
{
    return (const struct gdfo_json *)cJSON_GetObjectItemCaseSensitive(node(object), key);
}

const struct gdfo_json *gdfo_json_first(const struct gdfo_json *container)
{
    return (const struct gdfo_json *)node(container)->child;
}

const struct gdfo_json *gdfo_json_next(const struct gdfo_json *v)
{
    return (const struct gdfo_json *)node(v)->next;
}

const char *gdfo_json_key(const struct gdfo_json *v)
{
    return node(v)->string;
}

size_t gdfo_json_size(const struct gdfo_json *container)
{
    return (size_t)cJSON_GetArraySize(node(container));
}

const char *gdfo_json_string(const struct gdfo_json *v)
{
    return cJSON_IsString(node(v)) ? node(v)->valuestring : NULL;
}

int gdfo_json_number(const struct gdfo_json *v, double *out)
{
    if (!cJSON_IsNumber(node(v))) {
        return 0;
    }
    *out = node(v)->valuedouble;
    return 1;
}

int gdfo_json_int(const struct gdfo_json *v, int64_t *out)
{
    if (!(node(v)->type & INTEGER_BIT)) {
        return 0;
    }
    *out = (int64_t)node(v)->valuedouble;
    return 1;
}

int gdfo_json_bool(const struct gdfo_json *v, int *out)
{
    if (!cJSON_IsBool(node(v))) {
        return 0;
    }
    *out = cJSON_IsTrue(node(v));
    return 1;
}
