/* A library of custom operators for the tests: `com.example:Frobnicate`, which gives each element times three.
 *
 * Written against the binary interface of ONNX Runtime's C API alone, of which it declares what it calls: a table of
 * functions that only grows, each named here by its place. Built by `cc -shared -fPIC operators.c libscale.so`.
 */
#include <stddef.h>
#include <stdint.h>

float scaled(float value);

typedef struct Api Api;
typedef struct { const Api *(*get_api)(uint32_t version); const char *(*get_version)(void); } ApiBase;

/* Places in the table, unchanged since the release that added each. */
enum { CREATE_DOMAIN = 26, ADD_OPERATOR = 27, ADD_DOMAIN = 28, DATA = 51, DIMS_COUNT = 61, DIMS = 62, COUNT = 64,
       TYPE_AND_SHAPE = 65, INPUT = 90, OUTPUT = 91, RELEASE_TYPE_AND_SHAPE = 99 };
typedef void *(*Function)();
#define CALL(place) (((Function const *)api)[place])

enum { FLOAT = 1, API_VERSION = 17 };

typedef struct Operator Operator;
struct Operator {
    uint32_t version;
    void *(*create)(const Operator *, const Api *, const void *info);
    const char *(*name)(const Operator *);
    const char *(*provider)(const Operator *);
    int (*input_type)(const Operator *, size_t);
    size_t (*input_count)(const Operator *);
    int (*output_type)(const Operator *, size_t);
    size_t (*output_count)(const Operator *);
    void (*compute)(void *kernel, void *context);
    void (*destroy)(void *kernel);
    int (*input_kind)(const Operator *, size_t);
    int (*output_kind)(const Operator *, size_t);
    int (*input_memory)(const Operator *, size_t);
    int (*variadic[4])(const Operator *);
    void *later[9];
};

static const Api *api;

static void *create(const Operator *operator, const Api *table, const void *info) {
    (void)operator, (void)table, (void)info;
    return &api;
}
static const char *name(const Operator *operator) { (void)operator; return "Frobnicate"; }
static const char *provider(const Operator *operator) { (void)operator; return NULL; }
static int type(const Operator *operator, size_t at) { (void)operator, (void)at; return FLOAT; }
static size_t one(const Operator *operator) { (void)operator; return 1; }
static int required(const Operator *operator, size_t at) { (void)operator, (void)at; return 0; }
static int memory(const Operator *operator, size_t at) { (void)operator, (void)at; return 0; }
static int arity(const Operator *operator) { (void)operator; return 1; }
static void destroy(void *kernel) { (void)kernel; }

static void compute(void *kernel, void *context) {
    (void)kernel;
    const void *input = NULL;
    void *shape = NULL, *output = NULL;
    float *from = NULL, *to = NULL;
    size_t rank = 0, count = 0;
    int64_t dims[8];
    CALL(INPUT)(context, (size_t)0, &input);
    CALL(TYPE_AND_SHAPE)(input, &shape);
    CALL(DIMS_COUNT)(shape, &rank);
    rank = rank > 8 ? 8 : rank;
    CALL(DIMS)(shape, dims, rank);
    CALL(COUNT)(shape, &count);
    CALL(RELEASE_TYPE_AND_SHAPE)(shape);
    CALL(OUTPUT)(context, (size_t)0, dims, rank, &output);
    CALL(DATA)(input, &from);
    CALL(DATA)(output, &to);
    for (size_t k = 0; k < count; k++) to[k] = scaled(from[k]);
}

static const Operator FROBNICATE = {
    .version = API_VERSION, .create = create, .name = name, .provider = provider, .input_type = type,
    .input_count = one, .output_type = type, .output_count = one, .compute = compute, .destroy = destroy,
    .input_kind = required, .output_kind = required, .input_memory = memory, .variadic = {arity, arity, arity, arity},
};

/* What ONNX Runtime looks for by its name. */
__attribute__((visibility("default"))) void *RegisterCustomOps(void *options, const ApiBase *base) {
    static void *domain;
    void *failed;
    api = base->get_api(API_VERSION);
    if ((failed = CALL(CREATE_DOMAIN)("com.example", &domain))) return failed;
    if ((failed = CALL(ADD_OPERATOR)(domain, &FROBNICATE))) return failed;
    return CALL(ADD_DOMAIN)(options, domain);
}
