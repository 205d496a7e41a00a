/* A C99 program, linked with what pkg-config says. */
#include <tandem/tandem.h>

#include <stdio.h>

enum { channels = 16, pixels = 8 * 8, outputs = 8 };

static int failed(tandem_error* error) {
    if (error == NULL) return 0;
    fprintf(stderr, "%s: %s\n", tandem_error_code_name(tandem_error_code(error)),
            tandem_error_message(error));
    tandem_error_free(error);
    return 1;
}

static void fill(float* to, size_t count, float value) {
    for (size_t i = 0; i < count; ++i)
        to[i] = value;
}

int main(void) {
    static float x[channels * pixels], y[outputs * pixels], w1[channels * 9], w2[outputs * channels];
    fill(x, channels * pixels, 1.0f);
    fill(w1, channels * 9, 0.25f);
    fill(w2, outputs * channels, 0.5f);

    tandem_chain* chain = NULL;
    tandem_context* context = NULL;
    tandem_kernel* kernel = NULL;
    tandem_weights* weights = NULL;
    if (failed(tandem_chain_parse("1x16x8x8:dw3+relu:conv1o8", &chain)) ||
        failed(tandem_context_create(NULL, &context)) ||
        failed(tandem_dispatch(context, chain, NULL, &kernel)))
        return 1;
    tandem_stage_weights stages[] = {TANDEM_STAGE_WEIGHTS_INIT, TANDEM_STAGE_WEIGHTS_INIT};
    stages[0].weights = w1;
    stages[0].weight_count = channels * 9;
    stages[1].weights = w2;
    stages[1].weight_count = outputs * channels;
    if (failed(tandem_kernel_pack(kernel, stages, 2, NULL, &weights))) return 1;
    tandem_args args = TANDEM_ARGS_INIT;
    args.input = x;
    args.output = y;
    args.weights = weights;
    if (failed(tandem_kernel_call(kernel, &args))) return 1;
    const float inside = y[(4 * 8 + 4) * outputs]; /* 16 * 0.5 * 9 * 0.25 */
    printf("tandem %s: %g\n", tandem_version(), (double)inside);

    tandem_weights_free(weights);
    tandem_kernel_free(kernel);
    tandem_context_free(context);
    tandem_chain_free(chain);
    return inside == 18.0f && tandem_version_number() == TANDEM_VERSION_NUMBER ? 0 : 1;
}
