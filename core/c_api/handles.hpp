// What the C API's handles hold: values of the C++ API, which share what they use.
#pragma once

#include <cstdint>
#include <memory>

#include "tandem/code_observer.hpp"
#include "tandem/context.hpp"
#include "tandem/descriptor.hpp"
#include "tandem/kernel.hpp"
#include "tandem/machine_profile.hpp"
#include "tandem/tandem.h"
#include "tandem/thread_pool.hpp"

struct tandem_error {
    std::int32_t code;
    const char* message;  // behind the object, or of static duration
};

struct tandem_chain {
    tandem::ConvChain chain;  // valid
};

struct tandem_context {
    std::unique_ptr<tandem::Context> own;  // null: the shared one
    tandem::Context& context() const noexcept { return own ? *own : tandem::Context::shared(); }
};

struct tandem_kernel {
    tandem::Kernel kernel;
};

struct tandem_weights {
    tandem::PackedWeights weights;
};

struct tandem_pool {
    tandem::ThreadPool pool;
};

struct tandem_profile {
    tandem::MachineProfile profile;
};

struct tandem_observation {
    std::shared_ptr<tandem::CodeObserver> observer;
};

struct tandem_code {
    const tandem::GeneratedCode& code;
};
