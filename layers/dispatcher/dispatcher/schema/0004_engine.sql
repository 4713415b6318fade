-- A deleted agent's id can be created again: each time is a new incarnation.
alter table agents add incarnation bigint not null default 1;
