/* The header as C99 sees it: every struct begins with its initialiser. */
#include "tandem/tandem.h"

/* The initialisers' sizes, summed; 0 where one does not state its own. */
size_t tandem_test_initializers(void);

size_t tandem_test_initializers(void) {
    const tandem_quantization quantization = TANDEM_QUANTIZATION_INIT;
    const tandem_tensor tensor = TANDEM_TENSOR_INIT;
    const tandem_chain_info chain_info = TANDEM_CHAIN_INFO_INIT;
    const tandem_symbol symbol = TANDEM_SYMBOL_INIT;
    const tandem_code_info code_info = TANDEM_CODE_INFO_INIT;
    const tandem_code_observer observer = TANDEM_CODE_OBSERVER_INIT;
    const tandem_context_options context_options = TANDEM_CONTEXT_OPTIONS_INIT;
    const tandem_dispatch_options dispatch_options = TANDEM_DISPATCH_OPTIONS_INIT;
    const tandem_cache_stats cache_stats = TANDEM_CACHE_STATS_INIT;
    const tandem_kernel_info kernel_info = TANDEM_KERNEL_INFO_INIT;
    const tandem_stage_weights stage_weights = TANDEM_STAGE_WEIGHTS_INIT;
    const tandem_args args = TANDEM_ARGS_INIT;
    const tandem_pool_options pool_options = TANDEM_POOL_OPTIONS_INIT;
    const tandem_reference_args reference_args = TANDEM_REFERENCE_ARGS_INIT;
    return quantization.struct_size + tensor.struct_size + chain_info.struct_size + symbol.struct_size +
           code_info.struct_size + observer.struct_size + context_options.struct_size +
           dispatch_options.struct_size + cache_stats.struct_size + kernel_info.struct_size +
           stage_weights.struct_size + args.struct_size + pool_options.struct_size +
           reference_args.struct_size;
}
