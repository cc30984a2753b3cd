// What the example shows. Each throws CallFailed where a call fails, and std::runtime_error where
// it goes otherwise than it should.

#pragma once

#include <string>

#include "client.h"

// One question, one whole answer.
void unary(Client& client, const std::string& model);

// A streamed answer for which the model calls a tool.
void stream_with_tools(Client& client, const std::string& model);

// A conversation on one stream: an answer that is interrupted, then another question.
void converse(Client& client, const std::string& model);

// A request that no service takes, and what its error tells.
void show_error(Client& client, const std::string& model);
