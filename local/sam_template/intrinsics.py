"""CloudFormation's YAML tags and intrinsic functions, as far as this repository's templates use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]+)\}")
_UNPREFIXED = ("Ref", "Condition")
QUEUE = "AWS::SQS::Queue"


class TemplateError(ValueError):
    """The template contains something that is not supported here; the message names it."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, each turned into its long form."""


def _construct_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        raise TemplateError(f"!{suffix} cannot be read")
    return {suffix if suffix in _UNPREFIXED else f"Fn::{suffix}": value}


yaml.add_multi_constructor("!", _construct_tag, Loader=_Loader)


def read(path: Path) -> dict[str, Any]:
    """Read a template, its short tags (`!Ref X`) as long forms (`{"Ref": "X"}`), its merge keys merged."""
    document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 -- a SafeLoader
    if "Resources" not in document:
        raise TemplateError(f"{path} is no CloudFormation template: it has no Resources")
    return document


class _NoValue:
    """The value of `AWS::NoValue`: a property or item with it is removed."""


NO_VALUE = _NoValue()


class Resolver:
    """Resolves intrinsic functions for one template, one set of parameters, one (invented) account.

    `url` is where the account's APIs are served; the URLs of queues begin with it.
    """

    def __init__(
        self, template: Mapping[str, Any], parameters: Mapping[str, str], *, region: str, account: str, url: str = ""
    ) -> None:
        self._resources: Mapping[str, Any] = template["Resources"]
        self._conditions: Mapping[str, Any] = template.get("Conditions") or {}
        self._region = region
        self._account = account
        self._url = url
        self._references = self._pseudo_parameters() | _parameters(template.get("Parameters") or {}, parameters)
        self._intrinsics: dict[str, Callable[[Any], object]] = {
            "Ref": self._ref,
            "Condition": self.condition,
            "Fn::Sub": self._sub,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::Equals": lambda pair: self.resolve(pair[0]) == self.resolve(pair[1]),
            "Fn::Not": lambda only: not self.resolve(only[0]),
            "Fn::Or": lambda any_of: any(self.resolve(item) for item in any_of),
            "Fn::And": lambda all_of: all(self.resolve(item) for item in all_of),
            "Fn::Join": lambda pair: str(self.resolve(pair[0])).join(map(str, self.resolve(pair[1]))),
            "Fn::Split": lambda pair: str(self.resolve(pair[1])).split(str(self.resolve(pair[0]))),
            "Fn::Select": lambda pair: self.resolve(pair[1])[int(self.resolve(pair[0]))],
        }

    def resolve(self, value: Any) -> Any:
        """Return `value` with every intrinsic function in it replaced by its result."""
        if isinstance(value, dict):
            return self._resolve_mapping(cast("dict[str, Any]", value))
        if not isinstance(value, list):
            return value
        resolved = [self.resolve(item) for item in cast("Sequence[Any]", value)]
        return [item for item in resolved if item is not NO_VALUE]

    def condition(self, name: str) -> bool:
        """Tell whether the named condition holds."""
        if name not in self._conditions:
            raise TemplateError(f"the template has no condition {name}")
        return bool(self.resolve(self._conditions[name]))

    def queue_name(self, name: str) -> str:
        """Return the name that a queue gets on one machine; the name of a FIFO queue must end with .fifo."""
        properties: Mapping[str, Any] = self._resources[name].get("Properties") or {}
        return f"{name}.fifo" if properties.get("FifoQueue") else name

    def _resolve_mapping(self, value: dict[str, Any]) -> Any:
        if len(value) == 1:
            [(name, argument)] = value.items()
            # An IAM statement may hold a mapping under "Condition" too; the intrinsic names a condition.
            if name in self._intrinsics and not (name == "Condition" and not isinstance(argument, str)):
                return self._intrinsics[name](argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"{name} is not supported here")
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name in self._references:
            return self._references[name]
        if name in self._resources:
            if self._kind(name) == QUEUE:
                return f"{self._url}/{self._account}/{self.queue_name(name)}"
            return name  # on one machine a resource's logical id is its name
        function, _, attribute = name.partition(".")
        if attribute == "Alias" and function in self._resources:
            return f"{self._get_att([function, 'Arn'])}:{self._alias(function)}"
        raise TemplateError(f"the template has neither a parameter nor a resource {name}")

    def _get_att(self, path: list[str]) -> str:
        name, attribute = path
        if name not in self._resources:
            raise TemplateError(f"the template has no resource {name} (of !GetAtt {name}.{attribute})")
        match self._kind(name), attribute:
            case "AWS::Serverless::Function", "Arn":
                return f"arn:aws:lambda:{self._region}:{self._account}:function:{name}"
            case "AWS::SQS::Queue", "Arn":
                return f"arn:aws:sqs:{self._region}:{self._account}:{self.queue_name(name)}"
            case _:
                return f"{name}.{attribute}"

    def _alias(self, function: str) -> str:
        """Return the name of the alias that SAM would make for a function; raises TemplateError if it makes none."""
        properties: Mapping[str, Any] = self._resources[function].get("Properties") or {}
        alias = properties.get("AutoPublishAlias")
        if not alias:
            raise TemplateError(f"function {function} has no alias")
        return str(self.resolve(alias))

    def _kind(self, name: str) -> str:
        return str(self._resources[name].get("Type"))

    def _sub(self, argument: str | list[Any]) -> str:
        text: str = argument if isinstance(argument, str) else argument[0]
        variables: dict[str, Any] = {} if isinstance(argument, str) else self.resolve(argument[1])

        def replace(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return "${" + name + "}"
            if name in variables:
                return str(variables[name])
            return str(self._get_att(name.split(".", 1)) if "." in name else self._ref(name))

        return _PLACEHOLDER.sub(replace, text)

    def _if(self, argument: list[Any]) -> Any:
        name, then, otherwise = argument
        return self.resolve(then if self.condition(name) else otherwise)

    def _pseudo_parameters(self) -> dict[str, Any]:
        return {
            "AWS::AccountId": self._account,
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": self._region,
            "AWS::StackId": f"arn:aws:cloudformation:{self._region}:{self._account}:stack/local/local",
            "AWS::StackName": "local",
            "AWS::URLSuffix": "amazonaws.com",
        }


def _parameters(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    values: dict[str, Any] = {}
    for name, declaration in declared.items():
        if name not in given and "Default" not in declaration:
            raise TemplateError(f"parameter {name} has no default and was not given")
        value = str(given.get(name, declaration.get("Default")))
        kind = declaration["Type"]
        values[name] = value.split(",") if kind == "CommaDelimitedList" or kind.startswith("List<") else value
    return values
