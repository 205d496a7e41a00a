/* Tandem's C API: everything that the C++ API (tandem.hpp) does, for C99 and whatever calls C.

     tandem_chain* chain = NULL;
     tandem_error* error = tandem_chain_parse("1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6", &chain);
     if (error) { puts(tandem_error_message(error)); tandem_error_free(error); }

   Rules that hold for every function:

   - Errors. A function that can fail returns NULL, or an error object that the caller frees with
     tandem_error_free(); handles and texts given back are then NULL, other results untouched. Nothing throws,
   prints or aborts. NULL where a pointer is needed is an error. Making an error needs no memory.
   - Handles. What an out-parameter `tandem_X**` gives is the caller's, to be freed once with tandem_X_free(),
     which accepts NULL. A handle needs none of those it was made with: each keeps what it uses alive.
   - Texts. `const char*` results are borrowed: they live as long as the handle they come from, or for ever
     where there is none. A `char**` out-parameter gives a text of the caller's, for tandem_string_free().
     All end with a zero byte. Texts and arrays passed in are read during the call only.
   - Structs. All begin with `struct_size`; begin with the struct's _INIT macro, which sets it. A struct of an
     older header is accepted, and a newer one too as long as the fields that this library lacks are zero.
     0 or NULL is always the default. Structs are passed by pointer only, enumerations as int32_t, truths as
     int32_t 0 or 1.
   - Threads. All functions may be called from any thread, for the same handle at once, but for freeing it.

   The text of a chain, the JSON of plans and the numbers below are part of the ABI: they keep their meaning.
   How the text is written: descriptor.hpp. docs/embedding.md has complete programs. */
#ifndef TANDEM_TANDEM_H
#define TANDEM_TANDEM_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/export.h"
#include "tandem/version.h"

#ifdef __cplusplus
#define TANDEM_NOEXCEPT noexcept
extern "C" {
#else
#define TANDEM_NOEXCEPT
#endif

typedef struct tandem_error tandem_error;
typedef struct tandem_chain tandem_chain;
typedef struct tandem_context tandem_context;
typedef struct tandem_kernel tandem_kernel;
typedef struct tandem_weights tandem_weights;
typedef struct tandem_pool tandem_pool;
typedef struct tandem_profile tandem_profile;
typedef struct tandem_observation tandem_observation;
typedef struct tandem_code tandem_code;

#define TANDEM_MAX_STAGES 4 /* convolutions of a chain */

/* ---- Version ---- */

#define TANDEM_VERSION_NUMBER \
    (TANDEM_VERSION_MAJOR * 10000 + TANDEM_VERSION_MINOR * 100 + TANDEM_VERSION_PATCH)

/* Of the library that runs; the macros tell that of the headers. */
TANDEM_API const char* tandem_version(void) TANDEM_NOEXCEPT; /* "0.1.0" */
TANDEM_API int32_t tandem_version_number(void) TANDEM_NOEXCEPT;

/* ---- Errors and texts ---- */

enum {
    TANDEM_OK = 0,
    TANDEM_INVALID_ARGUMENT = 1, /* a field of a descriptor, an option or an argument is out of its range */
    TANDEM_PARSE_ERROR = 2,      /* a text is not of the documented form */
    TANDEM_OVERFLOW = 3,         /* a size or an offset does not fit its integer type */
    TANDEM_UNSUPPORTED = 4,      /* valid, but this build or this machine cannot do it */
    TANDEM_BUFFER_TOO_SMALL = 5, /* a buffer's stated size is below what is needed */
    TANDEM_SYSTEM = 6,           /* the operating system refused memory, protection or a file */
    TANDEM_OUT_OF_MEMORY = 7,    /* an allocation failed; the same call may work later */
    TANDEM_INTERNAL = 8          /* a fault of Tandem itself: worth a report */
};

/* TANDEM_OK for NULL. */
TANDEM_API int32_t tandem_error_code(const tandem_error* error) TANDEM_NOEXCEPT;
/* A sentence: which field is wrong, its value, what is accepted. "" for NULL. */
TANDEM_API const char* tandem_error_message(const tandem_error* error) TANDEM_NOEXCEPT;
/* "invalid_argument"; "ok" for TANDEM_OK, "unknown" for what is no code. */
TANDEM_API const char* tandem_error_code_name(int32_t code) TANDEM_NOEXCEPT;
TANDEM_API void tandem_error_free(tandem_error* error) TANDEM_NOEXCEPT;
TANDEM_API void tandem_string_free(char* text) TANDEM_NOEXCEPT;

/* ---- Numbers and tensors ---- */

enum { TANDEM_F32 = 0, TANDEM_BF16 = 1, TANDEM_F16 = 2, TANDEM_U8 = 3, TANDEM_S8 = 4 }; /* types */
enum { TANDEM_NHWC = 0, TANDEM_NCHW16C = 1, TANDEM_NCHW8C = 2, TANDEM_NCHW = 3 };       /* layouts */
enum { TANDEM_MATH_FAST = 0, TANDEM_MATH_STRICT = 1, TANDEM_MATH_BF16 = 2, TANDEM_MATH_F16 = 3 }; /* math */

/* Names as chains' texts have them; "unknown" for other numbers. */
TANDEM_API const char* tandem_data_type_name(int32_t data_type) TANDEM_NOEXCEPT;
TANDEM_API const char* tandem_layout_name(int32_t layout) TANDEM_NOEXCEPT;
TANDEM_API const char* tandem_math_name(int32_t math) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_data_type_parse(const char* text, int32_t* data_type) TANDEM_NOEXCEPT;

TANDEM_API uint16_t tandem_to_bf16(float value) TANDEM_NOEXCEPT; /* the nearest, ties to even, as bits */
TANDEM_API uint16_t tandem_to_f16(float value) TANDEM_NOEXCEPT;
TANDEM_API float tandem_from_bf16(uint16_t bits) TANDEM_NOEXCEPT;
TANDEM_API float tandem_from_f16(uint16_t bits) TANDEM_NOEXCEPT;
/* `value` as the type can hold it: the nearest number; for u8 and s8 the nearest integer, 0 for NaN. */
TANDEM_API tandem_error* tandem_round(int32_t data_type, float value, float* rounded) TANDEM_NOEXCEPT;
/* Element `index` of a tensor in memory; a quantised one as the integer that is stored. */
TANDEM_API tandem_error* tandem_load_element(int32_t data_type, const void* tensor, size_t index,
                                             float* value) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_store_element(int32_t data_type, void* tensor, size_t index,
                                              float value) TANDEM_NOEXCEPT;

/* What the numbers of a quantised tensor stand for: real = scale * (stored - zero_point). */
typedef struct tandem_quantization {
    size_t struct_size;
    float scale; /* 0: 1 */
    int32_t zero_point;
} tandem_quantization;
#define TANDEM_QUANTIZATION_INIT \
    { sizeof(tandem_quantization), 1.0f, 0 }

/* An activation tensor: its shape, and how it lies in memory. Strides are in elements. */
typedef struct tandem_tensor {
    size_t struct_size;
    int64_t n, c, h, w;
    int32_t data_type;
    int32_t layout;
    int64_t pixel_stride; /* strides: 0 given in is that of a tensor without gaps */
    int64_t row_stride;
    int64_t block_stride; /* from a block of channels to the next; 0 for TANDEM_NHWC */
    int64_t image_stride;
    int64_t elements; /* set by Tandem: from the first to the last, gaps and padding channels included */
    int64_t bytes;    /* set by Tandem */
} tandem_tensor;
#define TANDEM_TENSOR_INIT \
    { sizeof(tandem_tensor), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Which tensor of a chain or a kernel. */
#define TANDEM_INPUT 0
#define TANDEM_OUTPUT 1
#define TANDEM_RESIDUAL(stage) (2 + (stage)) /* of +sum; a stage that is passed none has c = 0 */

/* Fills in the strides that are 0, elements and bytes. */
TANDEM_API tandem_error* tandem_tensor_fill(tandem_tensor* tensor) TANDEM_NOEXCEPT;
/* Index of element (n, c, y, x) from the tensor's first. */
TANDEM_API tandem_error* tandem_tensor_index(const tandem_tensor* tensor, int64_t n, int64_t c, int64_t y,
                                             int64_t x, int64_t* index) TANDEM_NOEXCEPT;
/* Copies f32 between plain NCHW, of n*c*h*w elements, and where the tensor has it, of `elements`. Its
   data_type is not used. From NCHW sets padding channels to zero and leaves gaps alone. */
TANDEM_API tandem_error* tandem_from_nchw(const tandem_tensor* tensor, const float* nchw, size_t nchw_count,
                                          float* out, size_t out_count) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_to_nchw(const tandem_tensor* tensor, const float* in, size_t in_count,
                                        float* nchw, size_t nchw_count) TANDEM_NOEXCEPT;

/* ---- ISAs: "avx512_vnni", or with features behind, "avx512_vnni+vbmi" ---- */

/* The names of those that this CPU and OS offer, one a line, the best last. */
TANDEM_API tandem_error* tandem_host_isas(char** names) TANDEM_NOEXCEPT;
/* Those that kernels of a data type and math tell apart. */
TANDEM_API tandem_error* tandem_host_isas_of(int32_t data_type, int32_t math, char** names) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_isa_canonical(const char* isa, char** canonical) TANDEM_NOEXCEPT;
/* *includes: 1 where `isa` has all features of `other`. */
TANDEM_API tandem_error* tandem_isa_includes(const char* isa, const char* other,
                                             int32_t* includes) TANDEM_NOEXCEPT;

/* ---- Chains ---- */

typedef struct tandem_chain_info {
    size_t struct_size;
    int32_t stages;
    int32_t math;
    int32_t input_factors; /* calls need tandem_args::input_factors */
    int32_t quantized;
} tandem_chain_info;
#define TANDEM_CHAIN_INFO_INIT \
    { sizeof(tandem_chain_info), 0, 0, 0, 0 }

/* Reads and validates. Errors say which field is wrong. */
TANDEM_API tandem_error* tandem_chain_parse(const char* text, tandem_chain** chain) TANDEM_NOEXCEPT;
TANDEM_API void tandem_chain_free(tandem_chain* chain) TANDEM_NOEXCEPT;
/* Canonical text, which parses to an equal chain. */
TANDEM_API tandem_error* tandem_chain_text(const tandem_chain* chain, char** text) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_chain_get_info(const tandem_chain* chain,
                                               tandem_chain_info* info) TANDEM_NOEXCEPT;
/* `which`: TANDEM_INPUT, TANDEM_OUTPUT or TANDEM_RESIDUAL(stage). */
TANDEM_API tandem_error* tandem_chain_tensor(const tandem_chain* chain, int32_t which,
                                             tandem_tensor* tensor) TANDEM_NOEXCEPT;
/* Convolution `stage`, from 0, as a chain of its own. */
TANDEM_API tandem_error* tandem_chain_stage(const tandem_chain* chain, int32_t stage,
                                            tandem_chain** alone) TANDEM_NOEXCEPT;

/* ---- Observers: told what machine code there is and where ---- */

enum { TANDEM_FUNCTION = 0, TANDEM_ROUTINE = 1, TANDEM_CONSTANTS = 2, TANDEM_NOTE = 3 }; /* symbol kinds */
TANDEM_API const char* tandem_symbol_kind_name(int32_t kind) TANDEM_NOEXCEPT;

/* What lies where in generated code. */
typedef struct tandem_symbol {
    size_t struct_size;
    size_t offset; /* into the code */
    size_t size;   /* bytes */
    const char* name;
    int32_t kind;
    int32_t reserved;
} tandem_symbol;
#define TANDEM_SYMBOL_INIT \
    { sizeof(tandem_symbol), 0, 0, NULL, 0, 0 }

typedef struct tandem_code_info {
    size_t struct_size;
    const void* code; /* where it is executed */
    size_t code_bytes;
    size_t symbol_count;
    const char* name; /* of the kernel at batch size 1; name_bytes characters, no zero byte behind */
    size_t name_bytes;
} tandem_code_info;
#define TANDEM_CODE_INFO_INIT \
    { sizeof(tandem_code_info), NULL, 0, 0, NULL, 0 }

/* created() is called once for each piece of code, before it first runs, and released() once before it goes,
   from any thread, several at once for different code. They may use Tandem, but not wait for a dispatch on
   another thread. destroyed() is called once, when the observer will be told of nothing more; not if the call
   that was given the observer failed. Each may be NULL. `code` is valid during the call. */
typedef struct tandem_code_observer {
    size_t struct_size;
    void* user;
    void (*created)(void* user, const tandem_code* code);
    void (*released)(void* user, const tandem_code* code);
    void (*destroyed)(void* user);
} tandem_code_observer;
#define TANDEM_CODE_OBSERVER_INIT \
    { sizeof(tandem_code_observer), NULL, NULL, NULL, NULL }

TANDEM_API tandem_error* tandem_code_get_info(const tandem_code* code,
                                              tandem_code_info* info) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_code_symbol(const tandem_code* code, size_t index,
                                            tandem_symbol* symbol) TANDEM_NOEXCEPT;

/* Observes all code that is created in this process from now on, until the observation is freed; of the
   release of what it was told of, the observer is told after that, too. */
TANDEM_API tandem_error* tandem_observe(const tandem_code_observer* observer,
                                        tandem_observation** observation) TANDEM_NOEXCEPT;
TANDEM_API void tandem_observation_free(tandem_observation* observation) TANDEM_NOEXCEPT;

/* ---- Machine profiles: what to plan with (machine_profile.hpp) ---- */

TANDEM_API tandem_error* tandem_profile_of_this_machine(tandem_profile** profile) TANDEM_NOEXCEPT;
/* Measures the calling thread's core for about half a second. */
TANDEM_API tandem_error* tandem_profile_measure(tandem_profile** profile) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_profile_load(const char* path, tandem_profile** profile) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_profile_save(const tandem_profile* profile, const char* path) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_profile_source(const tandem_profile* profile, char** source) TANDEM_NOEXCEPT;
TANDEM_API void tandem_profile_free(tandem_profile* profile) TANDEM_NOEXCEPT;

/* ---- Contexts: from a chain to a kernel, and the cache of kernels ---- */

typedef struct tandem_context_options {
    size_t struct_size;
    size_t cache_capacity;                /* kernels kept; 0: TANDEM_CACHE_CAPACITY, else 4096 */
    size_t cache_bytes;                   /* of machine code kept; 0: TANDEM_CACHE_BYTES, else 256 MB */
    const tandem_profile* profile;        /* NULL: that of this machine */
    const tandem_code_observer* observer; /* of this context's kernels, or NULL */
    int32_t measure_machine;              /* without a profile: measure one, once a process */
    int32_t reserved;
} tandem_context_options;
#define TANDEM_CONTEXT_OPTIONS_INIT \
    { sizeof(tandem_context_options), 0, 0, NULL, NULL, 0, 0 }

enum { TANDEM_EFFORT_ESTIMATE = 0, TANDEM_EFFORT_MEASURE = 1, TANDEM_EFFORT_EXHAUSTIVE = 2 };
TANDEM_API const char* tandem_effort_name(int32_t effort) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_effort_parse(const char* text, int32_t* effort) TANDEM_NOEXCEPT;

typedef struct tandem_dispatch_options {
    size_t struct_size;
    const char* isa;  /* NULL: TANDEM_ISA, else the best */
    const char* plan; /* JSON, as tandem_kernel_plan() gives it; NULL: wisdom's or the planner's */
    int32_t threads;  /* parts meant to run at once, a hint for the plan; 0: 1 */
    int32_t effort;   /* how hard to look for a plan: TANDEM_EFFORT_... */
} tandem_dispatch_options;
#define TANDEM_DISPATCH_OPTIONS_INIT \
    { sizeof(tandem_dispatch_options), NULL, NULL, 0, 0 }

typedef struct tandem_cache_stats {
    size_t struct_size;
    uint64_t hits, misses, evictions, failures;
    uint64_t entries, code_bytes;
    double emission_seconds; /* summed over misses */
} tandem_cache_stats;
#define TANDEM_CACHE_STATS_INIT \
    { sizeof(tandem_cache_stats), 0, 0, 0, 0, 0, 0, 0.0 }

/* `options` may be NULL. */
TANDEM_API tandem_error* tandem_context_create(const tandem_context_options* options,
                                               tandem_context** context) TANDEM_NOEXCEPT;
/* A handle of the process-wide context, which the C++ API shares; freeing it leaves that alone. */
TANDEM_API tandem_error* tandem_context_shared(tandem_context** context) TANDEM_NOEXCEPT;
/* Its kernels stay valid. */
TANDEM_API void tandem_context_free(tandem_context* context) TANDEM_NOEXCEPT;
/* Compiled once, then found in the cache. `options` may be NULL. */
TANDEM_API tandem_error* tandem_dispatch(tandem_context* context, const tandem_chain* chain,
                                         const tandem_dispatch_options* options,
                                         tandem_kernel** kernel) TANDEM_NOEXCEPT;
/* Compiles what later dispatches of these chains with these options will find, on up to `workers` threads;
   0: one a CPU; 1: the caller's alone. The error is that of the first chain that failed. */
TANDEM_API tandem_error* tandem_prewarm(tandem_context* context, const tandem_chain* const* chains,
                                        size_t chain_count, const tandem_dispatch_options* options,
                                        int32_t workers) TANDEM_NOEXCEPT;
/* Wisdom (docs/tuning.md). `path` NULL or "": the default location. */
TANDEM_API tandem_error* tandem_load_wisdom(tandem_context* context, const char* path) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_save_wisdom(const tandem_context* context, const char* path) TANDEM_NOEXCEPT;
/* Why wisdom was not read, not saved or not used, a line each; "" where there is nothing to say. */
TANDEM_API tandem_error* tandem_wisdom_notes(const tandem_context* context, char** notes) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_get_cache_stats(const tandem_context* context,
                                                tandem_cache_stats* stats) TANDEM_NOEXCEPT;
/* Forgets every entry; kernels in use stay valid. */
TANDEM_API tandem_error* tandem_clear_cache(tandem_context* context) TANDEM_NOEXCEPT;

/* ---- Kernels ---- */

typedef struct tandem_kernel_info {
    size_t struct_size;
    const char* name; /* canonical: a text that tandem_chain_parse() reads */
    const void* code;
    size_t code_bytes;
    size_t symbol_count;
    size_t scratch_bytes; /* for tandem_kernel_run() */
    size_t shared_bytes;  /* for tandem_kernel_run_step() */
    int64_t tiles;        /* independent: the most parts that can be busy at once */
    int32_t steps;
    int32_t fused; /* all stages tile by tile: no intermediate is ever there as a whole */
} tandem_kernel_info;
#define TANDEM_KERNEL_INFO_INIT \
    { sizeof(tandem_kernel_info), NULL, NULL, 0, 0, 0, 0, 0, 0, 0 }

/* A second handle of the same kernel: for a second owner. */
TANDEM_API tandem_error* tandem_kernel_copy(const tandem_kernel* kernel,
                                            tandem_kernel** copy) TANDEM_NOEXCEPT;
TANDEM_API void tandem_kernel_free(tandem_kernel* kernel) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_kernel_get_info(const tandem_kernel* kernel,
                                                tandem_kernel_info* info) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_kernel_tensor(const tandem_kernel* kernel, int32_t which,
                                              tandem_tensor* tensor) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_kernel_symbol(const tandem_kernel* kernel, size_t index,
                                              tandem_symbol* symbol) TANDEM_NOEXCEPT;
/* Its plan as JSON, for tandem_dispatch_options::plan. */
TANDEM_API tandem_error* tandem_kernel_plan(const tandem_kernel* kernel, char** json) TANDEM_NOEXCEPT;
/* Why this kernel is the way it is, in sentences. */
TANDEM_API tandem_error* tandem_kernel_explain(const tandem_kernel* kernel, char** text) TANDEM_NOEXCEPT;

/* Weights of one stage as frameworks store them; each array with the number of its elements. */
typedef struct tandem_stage_weights {
    size_t struct_size;
    const float* weights; /* dense: OIHW; depthwise: [C*multiplier][1][H][W]; NULL for a quantised stage */
    size_t weight_count;
    const float* bias; /* output channels, as all that follow; NULL if the stage has no +bias */
    size_t bias_count;
    const float* prelu;
    size_t prelu_count;
    const float* scale;
    size_t scale_count;
    const int8_t* quantized_weights; /* in the order of `weights` */
    size_t quantized_weight_count;
    const float* weight_scales; /* real weight = weight_scales[channel] * quantised weight */
    size_t weight_scale_count;
    float output_scale; /* the output's quantisation; 0: 1 */
    int32_t output_zero_point;
    float residual_scale; /* that of +sum's tensor; 0: 1 */
    int32_t residual_zero_point;
} tandem_stage_weights;
#define TANDEM_STAGE_WEIGHTS_INIT \
    { sizeof(tandem_stage_weights), NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, 1.0f, 0, 1.0f, 0 }

/* Packs one struct a stage, once; all have the struct_size of the first. `input`: what a quantised chain's
   input stands for; NULL: scale 1, zero point 0. */
TANDEM_API tandem_error* tandem_kernel_pack(const tandem_kernel* kernel, const tandem_stage_weights* stages,
                                            size_t stage_count, const tandem_quantization* input,
                                            tandem_weights** weights) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_weights_copy(const tandem_weights* weights,
                                             tandem_weights** copy) TANDEM_NOEXCEPT;
TANDEM_API void tandem_weights_free(tandem_weights* weights) TANDEM_NOEXCEPT;
/* The packed bytes, for tandem_args::next of the call before; valid as long as the weights. */
TANDEM_API tandem_error* tandem_weights_memory(const tandem_weights* weights, const void** memory,
                                               size_t* bytes) TANDEM_NOEXCEPT;

/* One call's tensors. Shapes and strides are those of tandem_kernel_tensor(). A size of 0 is "not stated" and
   not checked. Nothing may overlap the output, but for the last stage's residual, which may be the output. */
typedef struct tandem_args {
    size_t struct_size;
    const void* input;
    void* output;
    const tandem_weights* weights;
    const void* residual[TANDEM_MAX_STAGES]; /* of +sum, by stage; NULL for +sum(in) and without */
    size_t input_bytes;
    size_t output_bytes;
    size_t residual_bytes[TANDEM_MAX_STAGES];
    const float* input_factors; /* [n][c], where the chain has them */
    size_t input_factors_bytes;
    const void* next; /* what this core reads next, mostly the next kernel's weights: fetched to L2 */
    size_t next_bytes;
} tandem_args;
#define TANDEM_ARGS_INIT \
    { sizeof(tandem_args), NULL, NULL, NULL, {NULL, NULL, NULL, NULL}, 0, 0, {0, 0, 0, 0}, NULL, 0, NULL, 0 }

/* The whole output on the calling thread. */
TANDEM_API tandem_error* tandem_kernel_call(const tandem_kernel* kernel,
                                            const tandem_args* args) TANDEM_NOEXCEPT;
/* Part `part` of `nparts`: parts never wait for each other and may run in any order on any threads.
   `scratch`: scratch_bytes, 64-byte aligned, one for each part that runs at the time. */
TANDEM_API tandem_error* tandem_kernel_run(const tandem_kernel* kernel, int32_t part, int32_t nparts,
                                           const tandem_args* args, void* scratch,
                                           size_t scratch_bytes) TANDEM_NOEXCEPT;
/* For callers who can join their threads: for each step all parts, then a join. `shared`: shared_bytes,
   64-byte aligned, the same for all parts and steps of a call. */
TANDEM_API tandem_error* tandem_kernel_run_step(const tandem_kernel* kernel, int32_t step, int32_t part,
                                                int32_t nparts, const tandem_args* args, void* scratch,
                                                size_t scratch_bytes, void* shared,
                                                size_t shared_bytes) TANDEM_NOEXCEPT;

/* ---- Thread pools: one worker a core, for programs without threads of their own ---- */

enum { TANDEM_PIN_AVOID_CALLER = 0, TANDEM_PIN_NONE = 1, TANDEM_PIN_ONE_CORE = 2 }; /* thread_pool.hpp */

typedef struct tandem_pool_options {
    size_t struct_size;
    int32_t threads; /* 0: one a physical core, within the cgroup's quota */
    int32_t pinning; /* TANDEM_PIN_... */
} tandem_pool_options;
#define TANDEM_POOL_OPTIONS_INIT \
    { sizeof(tandem_pool_options), 0, 0 }

/* `options` may be NULL. */
TANDEM_API tandem_error* tandem_pool_create(const tandem_pool_options* options,
                                            tandem_pool** pool) TANDEM_NOEXCEPT;
TANDEM_API void tandem_pool_free(tandem_pool* pool) TANDEM_NOEXCEPT;
TANDEM_API tandem_error* tandem_pool_threads(const tandem_pool* pool, int32_t* threads) TANDEM_NOEXCEPT;
/* One call at a time; a second caller waits. */
TANDEM_API tandem_error* tandem_pool_run(tandem_pool* pool, const tandem_kernel* kernel,
                                         const tandem_args* args) TANDEM_NOEXCEPT;
/* Calls function(user, part) for part = 0 .. threads-1, each on its own worker, and joins. It must not throw.
 */
TANDEM_API tandem_error* tandem_pool_parallel(tandem_pool* pool, void (*function)(void* user, int32_t part),
                                              void* user) TANDEM_NOEXCEPT;

/* ---- The reference: slow loops in double, for checking ---- */

/* A tensor's elements as floats whatever its data type is; for u8 and s8 the integers that are stored. */
typedef struct tandem_reference_args {
    size_t struct_size;
    const float* input;
    size_t input_count;
    const tandem_stage_weights* stages;
    size_t stage_count;
    const float* residual[TANDEM_MAX_STAGES];
    size_t residual_count[TANDEM_MAX_STAGES];
    const float* input_factors;
    size_t input_factor_count;
    float input_scale; /* quantisation of the input; 0: 1 */
    int32_t input_zero_point;
} tandem_reference_args;
#define TANDEM_REFERENCE_ARGS_INIT                                                                        \
    {                                                                                                     \
        sizeof(tandem_reference_args), NULL, 0, NULL, 0, {NULL, NULL, NULL, NULL}, {0, 0, 0, 0}, NULL, 0, \
            1.0f, 0                                                                                       \
    }

/* Writes the output tensor's `elements`, padding channels and gaps zero; output_count has to be that. */
TANDEM_API tandem_error* tandem_reference(const tandem_chain* chain, const tandem_reference_args* args,
                                          double* output, size_t output_count) TANDEM_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
