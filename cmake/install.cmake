# `cmake --install build --prefix PREFIX`: libraries, headers and the package by which other projects find them
# (docs/embedding.md), and the program. Tested by tests/project/embed_test.sh.

include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Cloze)

set(installed_libraries cloze_settings cloze_core cloze_kernels)
if(CLOZE_ENGINE)
    list(APPEND installed_libraries
        cloze_device_code cloze_device_gemm cloze_files cloze_text cloze_data cloze_device cloze_model cloze_cluster
        cloze_train cloze_engine)
    set_target_properties(cloze_engine PROPERTIES EXPORT_NAME engine)
    set_target_properties(cloze PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)  # cuBLASLt's folder is rarely a system's
    install(TARGETS cloze RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
set_target_properties(cloze_kernels PROPERTIES EXPORT_NAME kernels)
install(TARGETS ${installed_libraries} EXPORT ClozeTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT ClozeTargets NAMESPACE cloze:: DESTINATION ${package_folder})

# What a program may include. What these include comes with them; nothing else does.
set(public_headers
    kernels/attention.h
    kernels/bias_gelu.h
    kernels/bias_tanh.h
    kernels/cast.h
    kernels/column_sum.h
    kernels/core/device_info.h
    kernels/core/device_memory.h
    kernels/core/error.h
    kernels/core/graph.h
    kernels/core/launch_log.h
    kernels/core/parallel.h
    kernels/core/stream.h
    kernels/core/tensor.h
    kernels/cross_entropy.h
    kernels/embedding.h
    kernels/layer_norm.h
    kernels/norm.h
    kernels/optimizer_update.h
    kernels/rows.h)
if(CLOZE_ENGINE)
    list(APPEND public_headers
        engine/data/batch_stream.h
        engine/data/dataset.h
        engine/data/prepare.h
        engine/data/step_shape.h
        engine/device/device.h
        engine/device/host_memory.h
        engine/files/safetensors.h
        engine/model/host_copy.h
        engine/model/initialization.h
        engine/model/weights_file.h
        engine/text/huggingface_files.h
        engine/text/tokenizer.h
        engine/text/vocabulary_trainer.h
        engine/train/checkpoint.h
        engine/train/evaluation.h
        engine/train/fill_mask.h
        engine/train/plan.h
        engine/train/run.h
        engine/train/step_profile.h
        engine/train/trainer.h)
endif()
install(CODE "
    set(headers \"${public_headers}\")
    set(header_root \"${PROJECT_SOURCE_DIR}\")
    set(header_destination \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}/cloze\")")
install(SCRIPT cmake/install_headers.cmake)

foreach(library onednn cublaslt)
    if(TARGET cloze_${library})
        set(has_${library} ON)
    else()
        set(has_${library} OFF)
    endif()
endforeach()
set(cublaslt_folder "")
if(has_cublaslt)
    get_filename_component(cublaslt_folder ${CUBLASLT_LIBRARY} DIRECTORY)
endif()
configure_package_config_file(cmake/ClozeConfig.cmake.in ${CMAKE_BINARY_DIR}/ClozeConfig.cmake
    INSTALL_DESTINATION ${package_folder})
# Until version 1 a new second number may break programs.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/ClozeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_BINARY_DIR}/ClozeConfig.cmake
    ${CMAKE_BINARY_DIR}/ClozeConfigVersion.cmake
    cmake/find_library.cmake
    DESTINATION ${package_folder})
install(FILES LICENSE THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
